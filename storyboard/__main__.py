"""Entry point: `storyboard` and `python -m storyboard`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

INSTALL = "pip install 'superstoryboard[cli]'"

try:
    from storyboard.api.errors import CommandError, ExitCode
    from storyboard.app import build_app
    from storyboard.terminal.output import say
    from superstoryboard.config.env_file import load_or_exit
except ModuleNotFoundError as missing:
    if not missing.name or missing.name.startswith(("storyboard.", "superstoryboard.")):
        raise
    sys.exit(f"The package {missing.name} is not installed. Install what this command needs: {INSTALL}")


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    code: object = ExitCode.OK
    try:
        build_app()(args=list(arguments), prog_name="storyboard")
    except CommandError as error:
        say(*error.lines)
        code = error.exit_code
    except SystemExit as end:
        code = end.code
    return code if isinstance(code, int) else ExitCode.OK


def main() -> None:
    """Run the command of this process, with what its `.env` adds to the environment, and exit with its code."""
    load_or_exit()
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
