"""Ask OSV about known vulnerabilities of every package of the locks.

Exits with 1 where one is known, and with 2 where the database cannot be asked. The JSON API of PyPI, which pip-audit
asks unless told otherwise, does not do: packages that it does not know, at a mirror without it all, pass as safe.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from supply.lock import ROOT

LOCKS = [ROOT / "requirements" / name for name in ("image.txt", "dev.txt")]
DATABASE = "https://api.osv.dev/v1/query"
VULNERABLE, NOT_ASKED = 1, 2


def main() -> int:
    """Audit each lock, that of the image first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--lock", type=Path, action="append", help="a lock; default those of the image and of development"
    )
    parser.add_argument("--database", default=DATABASE, metavar="URL", help="address of the OSV API or a mirror of it")
    options = parser.parse_args()
    return max(_audit(lock, options.database) for lock in options.lock or LOCKS)


def _audit(lock: Path, database: str) -> int:
    command = ["pip_audit", "--vulnerability-service", "osv", "--osv-url", database, "--format", "json"]
    given = ["--progress-spinner", "off", "--disable-pip", "--require-hashes", "--requirement", str(lock)]
    done = subprocess.run([sys.executable, "-m", *command, *given], capture_output=True, text=True, check=False)
    packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"] if done.stdout.startswith("{") else []
    if not packages:
        reason = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        sys.stdout.write(
            f"{lock.name}: not audited. The database at {database} cannot be asked: {reason}\n"
            "Run this where it can be reached, or name a mirror: make audit DATABASE=URL\n"
        )
        return NOT_ASKED
    known = [(each, one) for each in packages for one in each["vulns"]]
    for package, one in known:
        fixed = ", ".join(one["fix_versions"]) or "no version yet"
        sys.stdout.write(f"{lock.name}: {package['name']} {package['version']}: {one['id']}, fixed in {fixed}\n")
    sys.stdout.write(f"{lock.name}: {len(packages)} packages, {len(known)} known vulnerabilities.\n")
    return VULNERABLE if known else 0


if __name__ == "__main__":
    sys.exit(main())
