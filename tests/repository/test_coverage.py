"""Coverage counts what runs in processes, whatever environment they get, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.repository.installed import ROOT, environment_with

MODULE = """
def here():
    return 1


def in_a_child():
    return 2


def nowhere():
    return 3
"""
TEST = """
import subprocess
import sys

import services.product
from devstack import module


def test_a_child_with_an_empty_environment():
    assert module.here() == 1
    code = "from devstack import module; raise SystemExit(module.in_a_child())"
    assert subprocess.run([sys.executable, "-c", code], env={}, check=False).returncode == 2
"""


PRODUCT = """
def outcome(paid):
    if paid:
        return 1
    return 2


assert outcome(True) == 1
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "devstack").mkdir()
    (tmp_path / "devstack" / "__init__.py").touch()
    (tmp_path / "devstack" / "module.py").write_text(MODULE)
    (tmp_path / "services").mkdir()
    (tmp_path / "services" / "product.py").write_text(PRODUCT)
    (tmp_path / "test_child.py").write_text(TEST)
    return tmp_path


@pytest.mark.parametrize(
    ("select", "least", "code"),
    [("test_a_child", "71", 0), ("test_a_child", "71.5", 2), ("nothing", "0", 5), ("nothing", "71.5", 5)],
)
def test_lines_of_children_count(
    project: Path, tmp_path_factory: pytest.TempPathFactory, select: str, least: str, code: int
) -> None:
    environment = environment_with(tmp_path_factory.mktemp("environment"), "pytest", "coverage")
    program = str(ROOT / "scripts" / "measure_coverage.py")
    done = environment.run("python", program, "--at-least", least, "-q", "-k", select, cwd=project)
    assert done.returncode == code, done.stdout + done.stderr
    (missed,) = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("services/product.py ")]
    assert missed == ["5", "1", "2", "1", "71%", "5"]
    (row,) = [line.split() for line in done.stdout.splitlines() if line.startswith("devstack ")]
    assert row[1:3] == ["6", "3" if select == "nothing" else "1"]
    assert (project / ".coverage" / "index.html").is_file()
    assert list(environment.packages.glob("measure_coverage.pth")) == []
