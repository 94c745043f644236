"""Object bytes on disk: one immutable file per version, so a reader never sees half an upload."""

import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path


class ObjectFiles:
    """Blocking; the callers run these in threads."""

    def __init__(self, state_dir: Path) -> None:
        self._objects = state_dir / "objects"
        self.uploads = state_dir / "uploads"

    def prepare(self) -> None:
        """Make the folders and drop what an earlier run left half uploaded."""
        shutil.rmtree(self.uploads, ignore_errors=True)
        self.uploads.mkdir(parents=True)
        self._objects.mkdir(exist_ok=True)

    def path(self, version: str) -> Path:
        return self._objects / version[:2] / version

    def _new(self) -> tuple[str, Path]:
        version = str(uuid.uuid4())
        path = self.path(version)
        path.parent.mkdir(exist_ok=True)
        return version, path

    def adopt(self, upload: Path) -> str:
        """Move a finished upload to its place; returns the version."""
        version, path = self._new()
        upload.replace(path)
        return version

    def copy(self, version: str) -> str:
        """Copy the bytes of a version; returns the new version."""
        copied, path = self._new()
        shutil.copyfile(self.path(version), path)
        return copied

    def remove(self, versions: Iterable[str]) -> None:
        for version in versions:
            self.path(version).unlink(missing_ok=True)
