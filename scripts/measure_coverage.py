"""Run pytest with these arguments, and print how many lines of each package ran, in whatever process.

Tests start services, emulators and commands as processes with environments of their own, so nothing that is inherited
can turn the counting on: a .pth file of the virtual environment does it, as long as this program runs. What is not
counted: processes that are killed (SIGKILL), and the decoding process, which may write no file.
"""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import coverage

ROOT = Path.cwd()
SOURCES = ("superstoryboard", "services", "storyboard", "devstack")
GENERATED = "superstoryboard/v1/*"
PAGES = ".coverage"
HOOK = Path(sysconfig.get_path("purelib")) / "measure_coverage.pth"
CONFIGURATION = """\
[run]
data_file = {folder}/data
parallel = true
sigterm = true
source =
    {sources}
omit = {omitted}
"""
START = """\
import os, coverage
os.environ["COVERAGE_PROCESS_START"] = {configuration!r}
coverage.process_startup()
del os.environ["COVERAGE_PROCESS_START"]
"""


def main(arguments: Sequence[str]) -> int:
    """Return pytest's exit code."""
    with tempfile.TemporaryDirectory(prefix="coverage-") as name:
        folder = Path(name)
        configuration = configure(folder)
        with counting(folder, configuration):
            code = subprocess.run([sys.executable, "-m", "pytest", *arguments], check=False).returncode
        print(report(folder, configuration))  # noqa: T201 - what the program is for
    return code


def configure(folder: Path) -> Path:
    """Write the settings of coverage.py with absolute paths: processes run in different folders."""
    sources = "\n    ".join(str(ROOT / source) for source in SOURCES if (ROOT / source).is_dir())
    path = folder / "coveragerc"
    path.write_text(CONFIGURATION.format(folder=folder, sources=sources, omitted=ROOT / GENERATED))
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


def report(folder: Path, configuration: Path) -> str:
    """Put all processes together: a table of the packages, and pages with every line in .coverage/."""
    measured = coverage.Coverage(config_file=str(configuration))
    measured.combine([str(folder)])
    measured.json_report(outfile=str(folder / "report.json"))
    measured.html_report(directory=str(ROOT / PAGES))
    lines, ran = Counter[str](), Counter[str]()
    for name, file in json.loads((folder / "report.json").read_text())["files"].items():
        for package in (package_of(ROOT / name), "all"):
            lines[package] += file["summary"]["num_statements"]
            ran[package] += file["summary"]["covered_lines"]
    rows = [
        (each, lines[each], lines[each] - ran[each]) for each in sorted(lines, key=lambda name: (name == "all", name))
    ]
    table = "\n".join(f"{each:<32}{all_:>8}{missed:>8}{percent(all_, missed):>8}" for each, all_, missed in rows)
    return f"\n{'package':<32}{'lines':>8}{'missed':>8}{'ran':>8}\n{table}\nEvery line: {PAGES}/index.html"


def package_of(file: Path) -> str:
    """The folder that a line of the table is about: services/ingest, superstoryboard/jobs, ..."""
    return "/".join(file.relative_to(ROOT).parts[:-1][:2])


def percent(lines: int, missed: int) -> str:
    """The share that ran, one digit after the point, never rounded up to 100."""
    return f"{(lines - missed) * 1000 // lines / 10 if lines else 100:.1f} %"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
