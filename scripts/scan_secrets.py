"""Look for secrets in the files that git tracks, and with --history in all that it ever did.

Findings are named by place and hash, never shown. scripts/supply/no_secrets.txt lists values that are none.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from detect_secrets.core.potential_secret import PotentialSecret
from supply.detectors import Detectors, Finding

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = ROOT / "scripts" / "supply" / "no_secrets.txt"
HISTORY = ("log", "--all", "--remerge-diff", "--unified=0", "--no-color", "--format=commit %H%n+%B", "--text")


def main() -> int:
    """Print what is found; exit 1 where that is anything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--history", action="store_true", help="read every commit of every branch too")
    parser.add_argument("--folder", type=Path, default=ROOT, help="the repository")
    options = parser.parse_args()
    allowed = _allowed()
    detectors = Detectors()
    findings: dict[str, Finding] = {}
    for place, text in texts(options.folder, history=options.history):
        for finding in detectors.read(place, text):
            if finding.sha1 not in allowed:
                findings.setdefault(finding.sha1, finding)
    for finding in sorted(findings.values()):
        sys.stdout.write(_sentence(finding))
    sys.stdout.write(f"{len(findings)} secrets found.\n" if findings else "No secrets found.\n")
    return 1 if findings else 0


def _allowed() -> set[str]:
    """SHA-1 of what is no secret."""
    values = [line for line in ALLOWED.read_text().splitlines() if not line.startswith("#")]
    return {*values, *(PotentialSecret.hash_secret(value) for value in values)}


def _sentence(finding: Finding) -> str:
    return f"{finding.place}:{finding.line}: {finding.kind}, SHA-1 {finding.sha1}\n"


def texts(folder: Path, *, history: bool) -> Iterator[tuple[str, str]]:
    """Each text with the name of its place."""
    for name in filter(None, _git(folder, "ls-files", "-z").split("\0")):
        path = folder / name
        if path.is_file():
            yield name, path.read_bytes().decode(errors="replace")
    if history:
        yield from _added(_git(folder, *HISTORY))


def _added(log: str) -> Iterator[tuple[str, str]]:
    """What each commit added, its message too."""
    commit = ""
    lines: list[str] = []
    for line in log.splitlines():
        if line.startswith("commit "):
            yield commit, "\n".join(lines)
            commit, lines = line, []
        elif line.startswith("+") and not line.startswith("+++ "):
            lines.append(line[1:])
    yield commit, "\n".join(lines)


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, check=True)
    return done.stdout.decode(errors="replace")


if __name__ == "__main__":
    sys.exit(main())
