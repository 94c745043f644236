"""List the license of every package in the image; exit 1 where one is unknown, or not permissive and not accepted."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from supply.licenses import Licensed, licensed
from supply.lock import IMAGE_LOCK, read_lock


def main() -> int:
    """Print the list, then what is not permissive and why it may be there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lock", type=Path, default=IMAGE_LOCK, help="the lock to read")
    packages = [licensed(package) for package in read_lock(parser.parse_args().lock) if package.in_image]
    for each in packages:
        print(f"{each.name} {each.version}: {' + '.join([each.license, *each.bundled])}")  # noqa: T201
    copyleft = [each for each in packages if not each.permissive]
    print(f"\n{len(packages)} packages; not permissive: {len(copyleft)}")  # noqa: T201
    for each in copyleft:
        print(f"  {each.name}: {each.accepted or _advice(each)}")  # noqa: T201
    return 1 if any(not each.accepted for each in copyleft) else 0


def _advice(package: Licensed) -> str:
    if package.license == "UNKNOWN":
        return f"LICENSE UNKNOWN. Install {package.name} {package.version}, or see scripts/supply/licenses.py."
    return "NOT ACCEPTED. Replace it, or say in ACCEPTED of scripts/supply/licenses.py why it may be in the image."


if __name__ == "__main__":
    sys.exit(main())
