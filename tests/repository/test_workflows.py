"""Workflows, templates and hooks: of the right form, and every command in them exists; cheap ones run."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.running import base_env

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
SCHEMAS = {
    "github-workflows": WORKFLOWS,
    "github-issue-forms": [each for each in sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml")) if each.stem != "config"],
    "github-issue-config": [GITHUB / "ISSUE_TEMPLATE" / "config.yml"],
}
ONLY_THERE = ("sudo", "gh", "user/bin/")
"""Programs that belong to the machine of the workflow, or to what an earlier step made."""


def steps() -> Iterator[tuple[str, str]]:
    """Every command of every workflow, its expressions replaced by a value."""
    for path in WORKFLOWS:
        for name, job in yaml.safe_load(path.read_text())["jobs"].items():
            for step in job["steps"]:
                if "run" in step:
                    command = re.sub(r"\$\{\{.*?\}\}", "15", step["run"])
                    yield f"{path.stem}-{name}-{command.split()[0]}", command


STEPS = dict(steps())
TARGETS = sorted(set(re.findall(r"\bmake ([a-z-]+)", "\n".join(STEPS.values()))))


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, env=base_env() | environment, capture_output=True, text=True, timeout=120, check=False
    )


def matrix(job: str) -> dict[str, list[str]]:
    values: dict[str, list[str]] = yaml.safe_load((GITHUB / "workflows" / "checks.yml").read_text())["jobs"][job][
        "strategy"
    ]["matrix"]
    return values


@pytest.mark.parametrize("schema", SCHEMAS)
def test_files_have_the_form_that_github_reads(schema: str) -> None:
    assert SCHEMAS[schema]
    done = run(BIN / "check-jsonschema", "--builtin-schema", f"vendor.{schema}", *SCHEMAS[schema])
    assert done.returncode == 0, done.stdout


def test_a_wrong_workflow_is_noticed(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(WORKFLOWS[0].read_text().replace("runs-on:", "runs_on:"))
    done = run(BIN / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", wrong)
    assert done.returncode == 1


def test_every_supported_python_and_postgresql_is_tested() -> None:
    pythons = matrix("test")["python"]
    assert pythons == ["3.11", "3.12", "3.13", "3.14"]
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert required == f">={pythons[0]}"
    assert matrix("outside")["postgresql"] == ["15", "16", "17", "18"]


@pytest.mark.parametrize("name", STEPS)
def test_every_command_is_a_shell_command(name: str) -> None:
    done = run("bash", "-n", "-c", STEPS[name])
    assert done.returncode == 0, done.stderr
    for line in STEPS[name].splitlines():
        program = line.split()[0]
        assert program.startswith(ONLY_THERE) or shutil.which(program) or program == "python", line


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_exists_and_is_listed(target: str) -> None:
    assert run("make", "--dry-run", target).returncode == 0
    assert f"make {target} " in run("make", "help").stdout


def test_the_tag_must_be_the_version(tmp_path: Path) -> None:
    (command,) = (
        command for command in STEPS.values() if "GITHUB_REF_NAME#v" in command and command.startswith("test")
    )
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / f"superstoryboard-{version}-py3-none-any.whl").touch()
    assert run("bash", "-c", command, cwd=tmp_path, GITHUB_REF_NAME=f"v{version}").returncode == 0
    assert run("bash", "-c", command, cwd=tmp_path, GITHUB_REF_NAME="v9.9.9").returncode == 1


def test_the_version_is_written_by_one_command(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "k8s", tmp_path / "k8s")
    assert run("make", "version", "VERSION=12.3", cwd=tmp_path).returncode != 0
    assert run("make", "version", "VERSION=12.3.4", cwd=tmp_path).returncode == 0
    assert tomllib.loads((tmp_path / "pyproject.toml").read_text())["project"]["version"] == "12.3.4"
    images = [re.findall(r"image: (.*)", each.read_text()) for each in (tmp_path / "k8s" / "base").iterdir()]
    assert {image for names in images for image in names} == {"superstoryboard:12.3.4"}


def test_the_changelog_has_this_version_on_top() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == version


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository with our hooks, and the tools where the hooks look for them."""
    assert run("git", "init", "--quiet", tmp_path).returncode == 0
    shutil.copy(ROOT / ".pre-commit-config.yaml", tmp_path)
    (tmp_path / ".venv").symlink_to(BIN.parent)
    return tmp_path


@pytest.mark.parametrize(("length", "code"), [(72, 0), (73, 1)])
def test_a_long_subject_is_refused(clone: Path, length: int, code: int) -> None:
    (clone / "message").write_text(f"{'x' * length}\n\n{'A body may have longer lines. ' * 5}\n")
    done = hooks(clone, "subject", "--hook-stage", "commit-msg", "--commit-msg-filename", "message")
    assert done.returncode == code, done.stdout + done.stderr


@pytest.mark.parametrize("hook", ["ruff", "format", "workflows"])
def test_a_hook_passes_what_is_right_and_refuses_what_is_wrong(clone: Path, hook: str) -> None:
    folder = clone / GITHUB.name / "workflows"
    folder.mkdir(parents=True)
    right, wrong = folder / "checks.yml", folder / "wrong.yml"
    right.write_text(WORKFLOWS[0].read_text())
    wrong.write_text("jobs: 1\n")
    (clone / "right.py").write_text('"""Right."""\n')
    (clone / "wrong.py").write_text("import  os.nothing ;x = undefined\n")
    assert run("git", "add", ".", cwd=clone).returncode == 0  # a hook that rewrites a file is seen by git
    assert hooks(clone, hook, "--files", "right.py", str(right.relative_to(clone))).returncode == 0
    assert hooks(clone, hook, "--files", "wrong.py", str(wrong.relative_to(clone))).returncode == 1


def hooks(clone: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(BIN / "pre-commit", "run", *arguments, cwd=clone, PRE_COMMIT_HOME=str(clone / "kept"))
