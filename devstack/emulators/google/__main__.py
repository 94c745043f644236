"""``python -m devstack.emulators.google``: run the emulator until SIGTERM or SIGINT."""

import argparse
import signal
from pathlib import Path

from .config import Config
from .server import log_to_stdout, make_server


def main() -> None:
    """Parse the command line and serve."""
    options = _parser().parse_args()
    config = Config(
        state_dir=options.state_dir,
        api_key=options.api_key,
        image_seconds=options.image_seconds,
        video_seconds=options.video_seconds,
        processing_seconds=options.processing_seconds,
        inline_bytes=options.inline_bytes,
        vertex_token=options.vertex_token,
        retired=frozenset(options.retired),
        renders_at_once=options.renders_at_once,
        frames_per_second=options.frames_per_second,
        listing=not options.no_listing,
    )
    log_to_stdout()
    # uvicorn stops cleanly on these signals and then raises them again for the handlers it found; with
    # these in place the process ends with code 0. A second signal, while the interpreter ends, would find
    # the default handler and kill the process: they are ignored from the first on.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: signal.signal(number, signal.SIG_IGN))
    server, sock = make_server(config, host=options.host, port=options.port)
    server.run(sockets=[sock])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m devstack.emulators.google", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="0 chooses a free port, which the first log line shows")
    parser.add_argument("--state-dir", type=Path, required=True, help="folder of the operations and the journal")
    parser.add_argument("--api-key", required=True, help="key that callers must send")
    parser.add_argument("--image-seconds", type=float, default=0.1, help="minimum time of an image call")
    parser.add_argument("--video-seconds", type=float, default=1.0, help="minimum time of a video operation")
    parser.add_argument(
        "--processing-seconds", type=float, default=0.0, help="time until the file of a finished video is ready"
    )
    parser.add_argument(
        "--inline-bytes", type=int, default=4 * 1024 * 1024, help="largest video returned inline in an interaction"
    )
    parser.add_argument("--vertex-token", help="access token that Vertex projects accept; default: none")
    parser.add_argument(
        "--retired", action="append", default=[], metavar="MODEL", help="return 404 for this model; may be repeated"
    )
    parser.add_argument("--renders-at-once", type=int, default=2, help="videos that are made at once")
    parser.add_argument("--frames-per-second", type=int, default=24, help="fewer make videos sooner")
    parser.add_argument("--no-listing", action="store_true", help="return UNIMPLEMENTED for lists of operations")
    return parser


if __name__ == "__main__":
    main()
