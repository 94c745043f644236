"""Run pytest with these arguments, and print which lines and branches ran, in whatever process.

Tests start services, emulators and commands as processes with environments of their own, so nothing that is inherited
can turn the counting on: a .pth file of the virtual environment does it, as long as this program runs. What is not
counted: processes that are killed (SIGKILL), and the decoding process, which may write no file.

`--at-least PERCENT`, before pytest's arguments, makes a lower share of the product (all but devstack) an error.
"""

from __future__ import annotations

import argparse
import io
import json
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import coverage

ROOT = Path.cwd()
SOURCES = ("superstoryboard", "services", "storyboard", "devstack")
PRODUCT = SOURCES[:-1]
NOT_COUNTED = ("superstoryboard/v1/*", "superstoryboard/media/child.py")
BELOW = 2
PAGES = ".coverage"
HOOK = Path(sysconfig.get_path("purelib")) / "measure_coverage.pth"
CONFIGURATION = """\
[run]
data_file = {folder}/data
branch = true
parallel = true
sigterm = true
source =
    {sources}
omit =
    {omitted}
[report]
partial_branches = if __name__ == "__main__":
"""
START = """\
import os, coverage
os.environ["COVERAGE_PROCESS_START"] = {configuration!r}
coverage.process_startup()
del os.environ["COVERAGE_PROCESS_START"]
"""


def main(arguments: Sequence[str]) -> int:
    """Return pytest's exit code; 2 where only too little of the product ran."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--at-least", type=float, default=0)
    options, rest = parser.parse_known_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # the hook goes, whoever ends this
    with tempfile.TemporaryDirectory(prefix="coverage-") as name:
        folder = Path(name)
        configuration = configure(folder)
        with counting(folder, configuration):
            code = subprocess.run([sys.executable, "-m", "pytest", *rest], check=False).returncode
        text, share = report(folder, configuration)
    below = share < options.at_least
    verdict = (
        f"{share:.2f} % of the product, {'less than the' if below else 'at least'} {options.at_least:g} % asked for"
    )
    print(text, verdict, sep="\n")  # noqa: T201 - what the program is for
    return code or (BELOW if below else 0)


def configure(folder: Path) -> Path:
    """Write the settings of coverage.py with absolute paths: processes run in different folders."""
    sources = "\n    ".join(str(ROOT / source) for source in SOURCES if (ROOT / source).is_dir())
    path = folder / "coveragerc"
    omitted = "\n    ".join(str(ROOT / each) for each in NOT_COUNTED)
    path.write_text(CONFIGURATION.format(folder=folder, sources=sources, omitted=omitted))
    return path


@contextmanager
def counting(folder: Path, configuration: Path) -> Iterator[None]:
    """Make every Python of this virtual environment count its lines; without the folder the hook does nothing."""
    start = folder / "start.py"
    start.write_text(START.format(configuration=str(configuration)))
    HOOK.write_text(f"import os; exec(open({str(start)!r}).read() if os.path.exists({str(start)!r}) else '')\n")
    try:
        yield
    finally:
        HOOK.unlink(missing_ok=True)


def report(folder: Path, configuration: Path) -> tuple[str, float]:
    """Put all processes together: what did not run, a table of the packages, and the share of the product in percent.

    Pages with every line are written to .coverage/.
    """
    measured = coverage.Coverage(config_file=str(configuration))
    measured.combine([str(folder)])
    measured.html_report(directory=str(ROOT / PAGES))
    measured.json_report(outfile=str(ROOT / PAGES / "report.json"))
    files = json.loads((ROOT / PAGES / "report.json").read_text())["files"]
    missed, product = io.StringIO(), [str(ROOT / each / "*") for each in PRODUCT]
    share = measured.report(include=product, show_missing=True, skip_covered=True, file=missed)
    return f"\n{missed.getvalue()}\n{packages(files)}\nEvery line: {PAGES}/index.html", share


def packages(files: dict[str, Any]) -> str:
    """A table: lines of each package, and how many of them did not run."""
    lines, ran = Counter[str](), Counter[str]()
    for name, file in files.items():
        for package in (package_of(ROOT / name), "all"):
            lines[package] += file["summary"]["num_statements"]
            ran[package] += file["summary"]["covered_lines"]
    rows = [
        (each, lines[each], lines[each] - ran[each]) for each in sorted(lines, key=lambda name: (name == "all", name))
    ]
    table = "\n".join(f"{each:<32}{all_:>8}{missed:>8}{percent(all_, missed):>8}" for each, all_, missed in rows)
    return f"{'package':<32}{'lines':>8}{'missed':>8}{'ran':>8}\n{table}"


def package_of(file: Path) -> str:
    """The folder that a line of the table is about: services/ingest, superstoryboard/jobs, ..."""
    return "/".join(file.relative_to(ROOT).parts[:-1][:2])


def percent(lines: int, missed: int) -> str:
    """The share that ran, one digit after the point, never rounded up to 100."""
    return f"{(lines - missed) * 1000 // lines / 10 if lines else 100:.1f} %"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
