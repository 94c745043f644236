"""Make the pages of docs/reference from the code, or with --check report those that are out of date."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from reference.errors import errors_page  # noqa: E402 - the repository is found by then
from reference.events import events_page  # noqa: E402
from reference.metrics import metrics_page  # noqa: E402
from reference.permissions import permissions_page  # noqa: E402
from reference.settings import settings_page  # noqa: E402
from reference.sql import sql_page  # noqa: E402

PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "errors.md": errors_page,
    "metrics.md": metrics_page,
    "events.md": events_page,
    "sql.md": sql_page,
    "permissions.md": permissions_page,
}


def main() -> None:
    """Write the pages, or with --check name those that differ and exit 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a page differs")
    parser.add_argument("--folder", type=Path, default=ROOT / "docs" / "reference", help="where the pages are")
    options = parser.parse_args()
    stale = []
    for name, make in PAGES.items():
        path = options.folder / name
        text = make()
        if options.check:
            if not path.exists() or path.read_text() != text:
                stale.append(name)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    if stale:
        sys.exit(f"out of date, run make reference: {', '.join(stale)}")


if __name__ == "__main__":
    main()
