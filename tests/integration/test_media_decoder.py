"""The decoding process: limits, deaths and ends, seen from outside."""

import asyncio
import hashlib
import os
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image
from structlog.testing import capture_logs

from superstoryboard.domain.media import Media, MediaType
from superstoryboard.media import MediaError
from superstoryboard.media.decoder import Decoder, _shape
from superstoryboard.media.limits import CPU_SECONDS, MEMORY_BYTES
from superstoryboard.media.verify import probe_bytes, verify, verify_bytes
from tests.logs import awaited_logs
from tests.running import base_env
from tests.unit.pictures import png, write_rgba
from tests.waiting import wait_for

PICTURE = png(3, 2, (b"\0" + b"\xff\0\0\xff" * 3) * 2)
MODULE = "superstoryboard.media.child"
SAMPLE_SECONDS = 0.01


def decoding_processes(parent: int | None = None) -> list[psutil.Process]:
    processes = []
    for each in psutil.Process(parent).children():
        with suppress(psutil.Error):  # it has just ended
            if MODULE in each.cmdline():
                processes.append(each)
    return processes


async def until(condition: Callable[[], Any]) -> Any:
    """Wait for something outside this process, beside what goes on in this one."""
    return await asyncio.to_thread(wait_for, condition)


@pytest.fixture
async def decoder() -> AsyncIterator[Decoder]:
    """A decoder whose process ends soon after its last file."""
    before = {each.pid for each in decoding_processes()}
    yield Decoder(idle_seconds=0.2)
    await until(lambda: {each.pid for each in decoding_processes()} <= before)


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A path whose reader waits for ever: a decode that does not end."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


async def started(decoder: Decoder, path: Path) -> tuple[asyncio.Task[Any], psutil.Process]:
    """A decode in progress and its process, once that takes requests."""
    before = {each.pid for each in decoding_processes()}
    task = asyncio.create_task(decoder.probe(path))
    new: list[psutil.Process] = await until(
        lambda: [each for each in decoding_processes() if each.pid not in before and each.num_threads() == 2]
    )
    return task, new[0]


def replace(pipe: Path, data: bytes) -> None:
    """At one stroke: whoever opens the path meanwhile finds the one or the other."""
    new = pipe.with_suffix(".new")
    new.write_bytes(data)
    new.replace(pipe)


async def test_a_process_serves_one_file_after_the_other_and_ends_when_idle(decoder: Decoder, tmp_path: Path) -> None:
    before = {each.pid for each in decoding_processes()}
    await asyncio.to_thread((tmp_path / "a").write_bytes, PICTURE)
    shapes = await asyncio.gather(*(decoder.probe(tmp_path / "a") for _ in range(20)))
    assert {(shape.media_type, shape.width) for shape in shapes} == {(MediaType.PNG, 3)}
    assert len({each.pid for each in decoding_processes()} - before) == 1
    await until(lambda: {each.pid for each in decoding_processes()} <= before)
    assert not [each for each in psutil.Process().children() if each.status() == psutil.STATUS_ZOMBIE]
    assert (await decoder.probe(tmp_path / "a")).width == 3


async def test_it_holds_no_secret_and_keeps_to_its_limits(
    decoder: Decoder, pipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPABASE_STAGING_KEY", "a-very-secret-key")
    await asyncio.to_thread((tmp_path / "a").write_bytes, PICTURE)
    decoded = asyncio.create_task(decoder.probe(tmp_path / "a"))
    task, process = await started(decoder, pipe)  # which keeps the process while it is looked at
    await decoded
    assert "SUPABASE_STAGING_KEY" not in process.environ()
    assert 0 < process.rlimit(psutil.RLIMIT_CPU)[0] <= CPU_SECONDS + 10
    assert MEMORY_BYTES < process.rlimit(psutil.RLIMIT_AS)[0] < MEMORY_BYTES + (1 << 30)
    assert process.rlimit(psutil.RLIMIT_FSIZE)[0] == 0
    await asyncio.to_thread(replace, pipe, PICTURE)
    process.kill()
    await task


async def test_a_process_that_is_killed_from_outside_is_started_again(decoder: Decoder, pipe: Path) -> None:
    task, process = await started(decoder, pipe)
    await asyncio.to_thread(replace, pipe, PICTURE)
    process.kill()
    assert (await task).width == 3


async def test_a_process_that_was_killed_between_two_files_is_started_again(tmp_path: Path) -> None:
    decoder, before = Decoder(), {each.pid for each in decoding_processes()}
    await asyncio.to_thread((tmp_path / "a").write_bytes, PICTURE)
    await decoder.probe(tmp_path / "a")
    (process,) = [each for each in decoding_processes() if each.pid not in before]
    process.kill()
    await until(lambda: process.status() == psutil.STATUS_ZOMBIE)
    assert (await decoder.probe(tmp_path / "a")).width == 3
    (process,) = [each for each in decoding_processes() if each.pid not in before]
    process.kill()


async def test_a_process_that_does_not_end_when_idle_is_killed(decoder: Decoder, tmp_path: Path) -> None:
    before = {each.pid for each in decoding_processes()}
    await asyncio.to_thread((tmp_path / "a").write_bytes, PICTURE)
    await decoder.probe(tmp_path / "a")
    (process,) = [each for each in decoding_processes() if each.pid not in before]
    process.suspend()
    await until(lambda: not process.is_running())


async def test_files_wait_for_a_system_that_starts_no_process(
    decoder: Decoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread((tmp_path / "a").write_bytes, PICTURE)
    with monkeypatch.context() as patch, capture_logs() as lines:
        patch.setattr(sys, "executable", "/nowhere/python")
        task = asyncio.create_task(decoder.probe(tmp_path / "a"))
        await until(lambda: lines)
    assert "cannot be started" in lines[0]["reason"]
    assert (await task).width == 3


@pytest.mark.parametrize(
    "answer",
    [b"rubbish", b"[]", b"{}", b"7", b'{"errno": "x"}', b'{"media_type": "image/of/dreams"}', b"[" * 100_000],
)
def test_what_a_broken_process_says_is_not_believed(answer: bytes) -> None:
    with pytest.raises(MediaError, match="crashes the decoder"):
        _shape(answer)


@pytest.mark.parametrize(
    ("number", "message"), [(signal.SIGSEGV, "crashes the decoder"), (signal.SIGXCPU, "processor time")]
)
async def test_a_file_that_breaks_the_process_is_refused_and_the_next_one_read(
    decoder: Decoder, pipe: Path, number: signal.Signals, message: str
) -> None:
    task, process = await started(decoder, pipe)
    process.send_signal(number)
    with pytest.raises(MediaError, match=message):
        await task
    await asyncio.to_thread(replace, pipe, PICTURE)
    assert (await decoder.probe(pipe)).width == 3


async def test_a_decode_that_does_not_end_is_given_up_after_three_starts(pipe: Path) -> None:
    decoder = Decoder(idle_seconds=0.1, wall_seconds=1.0)
    with pytest.raises(MediaError, match="stopped 3 times"):
        await decoder.probe(pipe)


async def test_the_loop_goes_on_and_cancelled_files_are_dropped(decoder: Decoder, pipe: Path, tmp_path: Path) -> None:
    task, process = await started(decoder, pipe)
    waiting = asyncio.create_task(decoder.probe(tmp_path / "never-asked-for"))
    task.cancel()
    waiting.cancel()
    for each in (task, waiting):
        with pytest.raises(asyncio.CancelledError):
            await each
    await asyncio.to_thread(replace, pipe, PICTURE)
    process.kill()
    assert (await decoder.probe(pipe)).width == 3


def parent_of(code: str, path: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code, str(path)], env=base_env(), stdout=subprocess.PIPE)


async def test_a_parent_that_is_killed_leaves_no_process(pipe: Path) -> None:
    code = (
        "import asyncio, sys; from pathlib import Path; from superstoryboard.media.verify import probe;"
        " asyncio.run(probe(Path(sys.argv[1])))"
    )
    parent = parent_of(code, pipe)
    (child,) = await until(lambda: decoding_processes(parent.pid))
    parent.kill()
    await asyncio.to_thread(parent.communicate)
    await until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


async def test_five_of_the_largest_pictures_at_once_take_under_300_megabytes(tmp_path: Path) -> None:
    """Of a whole image_worker with its decoding process, as the system counts them."""
    file = await asyncio.to_thread(write_rgba, tmp_path / "large.png", 8192)
    code = (
        "import asyncio, sys; from pathlib import Path; import services.image_worker.wiring;"
        " from superstoryboard.media.verify import verify\n"
        "async def main():\n"
        "    facts = await asyncio.gather(*(verify(Path(sys.argv[1])) for _ in range(5)))\n"
        "    print({(each.width, each.height) for each in facts})\n"
        "asyncio.run(main())"
    )
    parent = parent_of(code, file)
    peak = await asyncio.to_thread(_peak_bytes, parent)
    output, _ = parent.communicate()
    assert output == b"{(8192, 8192)}\n"
    assert peak < 300_000_000


def _peak_bytes(parent: subprocess.Popen[bytes]) -> int:
    peak, process = 0, psutil.Process(parent.pid)
    while parent.poll() is None:
        try:
            family = [process, *process.children()]
            peak = max(peak, sum(each.memory_full_info().pss for each in family))
        except psutil.Error:
            continue  # one of them has just ended
        with suppress(subprocess.TimeoutExpired):
            parent.wait(SAMPLE_SECONDS)
    return peak


async def test_a_hundred_megapixels_are_refused_before_decoding(tmp_path: Path) -> None:
    file = await asyncio.to_thread(write_rgba, tmp_path / "larger.png", 10_000)
    with pytest.raises(MediaError, match="the image has 10000 x 10000 pixels, more than 67108864"):
        await verify(file)


async def test_what_cannot_be_read_in_little_memory_is_refused_by_name(tmp_path: Path) -> None:
    large = Image.new("RGB", (8192, 8192), "teal")
    for name, options in (("JPEG", {"progressive": True}), ("WEBP", {"lossless": True, "method": 0, "quality": 0})):
        file = tmp_path / name
        await asyncio.to_thread(large.save, file, name, **options)
        with pytest.raises(MediaError, match="more than 160 MiB of memory"):
            await verify(file)
    await asyncio.to_thread(large.save, tmp_path / "baseline", "JPEG")
    assert (await verify(tmp_path / "baseline")).width == 8192


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
async def test_animations_are_refused_by_name(tmp_path: Path, form: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    file = tmp_path / "moving"
    await asyncio.to_thread(frames[0].save, file, form, save_all=True, append_images=frames[1:])
    with pytest.raises(MediaError, match="only still images"):
        await verify(file)


async def test_bytes_in_memory_need_no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/nowhere")
    monkeypatch.setattr("tempfile.tempdir", None)
    facts = await verify_bytes(PICTURE, Media.IMAGE)
    assert (facts.width, facts.size_bytes) == (3, len(PICTURE))
    assert facts.sha256 == hashlib.sha256(PICTURE).hexdigest()


async def test_bytes_wait_for_a_system_that_is_out_of_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    await probe_bytes(PICTURE)  # whatever the process opens once
    resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
    try:
        with awaited_logs() as lines:
            task = asyncio.create_task(probe_bytes(PICTURE))
            line = await lines.first()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert line["event"] == "Decoding is retried"
    assert (await task).width == 3


async def test_a_kind_that_was_not_asked_for_is_not_decoded() -> None:
    with pytest.raises(MediaError, match="not an MP4 or WebM video"):
        await probe_bytes(PICTURE, Media.VIDEO)
