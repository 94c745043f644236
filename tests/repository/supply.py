"""The programs of scripts/ that look at packages and files, run like `make` runs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.repository.installed import ROOT
from tests.running import base_env


def script(name: str, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program of scripts/."""
    return subprocess.run(
        [sys.executable, ROOT / "scripts" / name, *arguments],
        env=base_env() | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def locked(name: str) -> dict[str, tuple[str, list[str], str]]:
    """Packages of a lock: version, hashes, marker."""
    packages: dict[str, tuple[str, list[str], str]] = {}
    for line in (ROOT / "requirements" / name).read_text().splitlines():
        if "==" in line and not line.startswith(" "):
            package, _, rest = line.removesuffix(" \\").partition("==")
            version, _, marker = rest.partition(" ; ")
            packages[package] = (version, [], marker)
        elif "--hash=sha256:" in line:
            packages[package][1].append(line.strip(" \\").removeprefix("--hash=sha256:"))
    return packages
