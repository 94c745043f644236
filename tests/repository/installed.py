"""The wheel of this checkout, installed into empty environments without a network.

An environment gets the wheel and, as links to the packages that the tests run with, exactly what an extra asks for:
a requirement that is not declared is missing there.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

from tests.running import base_env

ROOT = Path(__file__).parents[2]
NAME = "superstoryboard"
IMPORTS = """
import ast, importlib, pathlib, pkgutil, sys

for name in sys.argv[1:]:
    module = importlib.import_module(name)
    for each in pkgutil.walk_packages(module.__path__, name + "."):
        if not each.name.endswith("__main__"):
            importlib.import_module(each.name)
for name, module in list(sys.modules.items()):
    if name.startswith(("superstoryboard.", "storyboard.")) and not name.startswith("superstoryboard.v1."):
        for node in ast.walk(ast.parse(pathlib.Path(module.__file__).read_text())):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    importlib.import_module(alias.name)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                importlib.import_module(node.module)
"""


def build_wheel(folder: Path) -> Path:
    """Build what a fresh clone with today's files would."""
    source = folder / "source"
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    _pip("wheel", "--no-build-isolation", "--wheel-dir", str(folder), str(source))
    (wheel,) = folder.glob("*.whl")
    return wheel


class Environment:
    """A virtual environment whose packages are links to those that the tests run with."""

    def __init__(self, folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
        self.bin = folder / "bin"
        (self.packages,) = folder.glob("lib/python*/site-packages")
        self.folder = folder / "elsewhere"
        self.folder.mkdir()

    def run(self, *command: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment, in an empty folder unless another is named."""
        return subprocess.run(
            [self.bin / command[0], *command[1:]],
            cwd=cwd or self.folder,
            env=base_env() | {"PYTHONPYCACHEPREFIX": str(self.bin.parent / "compiled")} | environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def imports(self, *modules: str) -> str:
        """What is wrong with importing modules, those below them, and what their functions import; "" is nothing."""
        return self.run("python", "-c", IMPORTS, *modules).stderr


def environment_with_exactly(folder: Path, *names: str) -> Environment:
    """An environment with these packages, and nothing that they need beside."""
    environment = Environment(folder)
    for name in names:
        _link(_installed(name), environment.packages)
    return environment


def environment_with(folder: Path, *names: str) -> Environment:
    """An environment with packages by name, and what each needs."""
    environment = Environment(folder)
    for name in names:
        for package in [distribution(name), *_closure(distribution(name), "")]:
            _link(package, environment.packages)
    return environment


class Installation(Environment):
    """An environment with the wheel and the packages of one extra; "" is the wheel with what it always needs."""

    def __init__(self, folder: Path, wheel: Path, extra: str) -> None:
        super().__init__(folder)
        _pip("--python", str(self.bin / "python"), "install", str(wheel))
        self.own = {path.name for path in self.packages.iterdir()}
        installed = next(iter(Distribution.discover(name=NAME, path=[str(self.packages)])))
        for package in _closure(installed, extra):
            _link(package, self.packages)


def _pip(*arguments: str) -> None:
    offline = ["--quiet", "--disable-pip-version-check"]
    command = arguments.index("install") if "install" in arguments else arguments.index("wheel")
    told = [*arguments[: command + 1], "--no-index", "--no-deps", *arguments[command + 1 :]]
    done = subprocess.run([sys.executable, "-m", "pip", *offline, *told], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _closure(root: Distribution, extra: str) -> list[Distribution]:
    """What pip would install beside root for an extra, in the versions of this process."""
    packages: dict[str, Distribution] = {}
    waiting, done = [(root, extra)], set()
    while waiting:
        package, extras = waiting.pop()
        if (package.name, extras) in done:
            continue
        done.add((package.name, extras))
        for requirement in _requirements(package, extras):
            needed = root if requirement.name == root.name else _installed(requirement.name)
            packages[needed.name] = needed
            waiting += [(needed, each) for each in ("", *requirement.extras)]
    packages.pop(root.name, None)
    return list(packages.values())


def _requirements(package: Distribution, extra: str) -> Iterator[Requirement]:
    for text in package.requires or []:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            yield requirement


def _installed(name: str) -> Distribution:
    try:
        return distribution(name)
    except PackageNotFoundError as error:
        raise AssertionError(f"{name} is declared and not in requirements/dev.txt: {error}") from error


def _link(package: Distribution, target: Path) -> None:
    for file in package.files or []:
        if ".." not in file.parts and not file.name.endswith(".pyc"):
            link = target / file
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                link.symlink_to(Path(str(package.locate_file(file))).resolve())
