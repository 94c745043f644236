"""Large objects pass through a process without staying in its memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.emulators.storage_fixture import SECRET_KEY, running_emulator

SIZE = 100_000_000
GROWTH_BYTES = 16_000_000
"""A tenth of what the object would need, and room for buffers of sockets."""

CHILD = """
import asyncio, json, sys, threading
from pathlib import Path
import psutil
from superstoryboard.storage.objects import ObjectStore

memory, seen, done = psutil.Process().memory_info, [], threading.Event()

def watch():
    while not done.wait(0.005):
        seen.append(memory().rss)

async def main(url, key, folder):
    store = await ObjectStore.connect(url=url, key=key, timeout_seconds=60)
    await store.ensure_bucket("large", public=False)
    async def pass_through(name):
        await store.upload("large", name, folder / name, "video/mp4")
        return await store.download_to("large", name, folder / "back", 10**9)
    await pass_through("small")
    before = memory().rss
    watcher = threading.Thread(target=watch)
    watcher.start()
    found = await pass_through("big")
    done.set()
    watcher.join()
    print(json.dumps({"growth": max(seen) - before, "looks": len(seen), "size": found.size_bytes}))
    await store.aclose()

asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
"""


def test_a_hundred_megabytes_pass_with_flat_memory(database_url: str, tmp_path: Path) -> None:
    for name, size in (("small", 1_000_000), ("big", SIZE)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
    with running_emulator(database_url, tmp_path / "storage") as emulator:
        child = subprocess.run(
            [sys.executable, "-c", CHILD, emulator.url, SECRET_KEY, str(tmp_path)],
            capture_output=True,
            text=True,
            check=True,
            timeout=150,
            cwd=Path(__file__).resolve().parents[2],
        )
    report = json.loads(child.stdout)
    assert report["size"] == SIZE
    assert report["looks"] > 10
    assert report["growth"] < GROWTH_BYTES
