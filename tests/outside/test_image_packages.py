"""The packages of the image, installed from the registry by the command of the Dockerfile."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from importlib.metadata import Distribution
from pathlib import Path

import pytest
from packaging.markers import Marker

from tests.repository.installed import ROOT, Environment
from tests.repository.supply import locked

SECONDS = 600


@pytest.mark.timeout(SECONDS)
def test_the_command_of_the_dockerfile_installs_the_lock_and_nothing_else(tmp_path: Path) -> None:
    image = Environment(tmp_path / "venv")
    (line,) = re.findall(r"^RUN pip (--python .* install .*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    places = {
        "/opt/venv/bin/python": str(image.bin / "python"),
        "/tmp/image.txt": str(ROOT / "requirements" / "image.txt"),  # noqa: S108 - its path in the image
    }
    arguments = [places.get(word, word) for word in shlex.split(line)]
    assert set(places.values()) <= set(arguments)
    subprocess.run([sys.executable, "-m", "pip", *arguments], check=True, timeout=SECONDS)
    installed = {
        re.sub(r"[-_.]+", "-", each.name).lower(): each.version
        for each in Distribution.discover(path=[str(image.packages)])
    }
    assert installed == {
        name: version
        for name, (version, _, marker) in locked("image.txt").items()
        if not marker or Marker(marker).evaluate()
    }
