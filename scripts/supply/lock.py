"""What a lock names: packages with their versions, hashes, and where they are installed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import Marker

ROOT = Path(__file__).resolve().parents[2]
IMAGE_LOCK = ROOT / "requirements" / "image.txt"
PYTHON = "3.11"
"""Python of the image, as the Dockerfile says."""
IMAGE = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": f"{PYTHON}.0",
    "python_version": PYTHON,
    "sys_platform": "linux",
}
"""Values of the markers in the image; on ARM it has the same packages."""
ENTRY = re.compile(r"^(?P<name>[a-z0-9-]+)==(?P<version>[^\s;]+)(?: ; (?P<marker>[^\\\n]+?))?(?: \\)?$", re.MULTILINE)
PROJECT = "superstoryboard"
NEEDED_BY = re.compile(r"^    #(?: via|  ) ([a-z][a-z0-9-]*)", re.MULTILINE)
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Locked:
    """A package of a lock."""

    name: str
    version: str
    hashes: tuple[str, ...]
    """SHA-256 of each file that may be installed: a wheel for each system, and the source."""
    marker: Marker | None
    needed_by: tuple[str, ...]
    """Packages of the lock that need it, and PROJECT."""

    @property
    def in_image(self) -> bool:
        """Whether the image gets it."""
        return self.marker is None or self.marker.evaluate(IMAGE)


def read_lock(path: Path = IMAGE_LOCK) -> list[Locked]:
    """Packages of a lock, by name."""
    text = path.read_text()
    entries = list(ENTRY.finditer(text))
    ends = [*(entry.start() for entry in entries[1:]), len(text)]
    return [
        Locked(
            entry["name"],
            entry["version"],
            tuple(HASH.findall(text, entry.end(), end)),
            Marker(entry["marker"]) if entry["marker"] else None,
            tuple(NEEDED_BY.findall(text, entry.end(), end)),
        )
        for entry, end in zip(entries, ends, strict=True)
    ]
