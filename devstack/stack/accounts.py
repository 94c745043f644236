"""Which system user a server runs as: Postgres and RabbitMQ refuse root, so root lends them another one."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

USER_ADD_SECONDS = 30


@dataclass(frozen=True)
class Account:
    """A user that a child process becomes."""

    name: str
    uid: int
    gid: int

    def own(self, folder: Path) -> None:
        """Make a folder and what it holds this user's, and let it pass through the folders above.

        Only the right to pass through is added, and only where it is missing: nobody can list more than before.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, self.uid, self.gid, follow_symlinks=False)
        self.reach(folder)

    def reach(self, path: Path) -> None:
        """Let this user pass through the folders above a path."""
        for parent in path.resolve().parents:
            mode = parent.stat().st_mode
            if not mode & stat.S_IXOTH:
                parent.chmod(mode | stat.S_IXOTH)


def borrowed_account(name: str, *, create: bool = False) -> Account | None:
    """The user that a server must run as: None where we are not root and everything runs as ourselves.

    Raises:
        KeyError: there is no such user, and it is not to be created.
    """
    if os.geteuid() != 0:
        return None
    if create and not _exists(name):
        subprocess.run(
            ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", name],
            check=True,
            capture_output=True,
            timeout=USER_ADD_SECONDS,
        )
    entry = pwd.getpwnam(name)
    return Account(name, entry.pw_uid, entry.pw_gid)


def _exists(name: str) -> bool:
    return any(entry.pw_name == name for entry in pwd.getpwall())
