"""A running Google emulator for tests: the real program in a process of its own."""

import json
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import httpx
from PIL import Image, ImageChops, ImageStat

from tests.waiting import wait_for

KEY = "emulator-key"
IMAGE_MODEL = "gemini-nano-banana-2.1"
VIDEO_MODEL = "veo-3.1-fast-generate-preview"
VERTEX_TOKEN = "emulator-token"
FRAMES_PER_SECOND = 4
"""Of Veo's 24: tests look at other things, and encoding takes long."""
VERTEX_MODEL = "veo-3.1-fast-generate-001"
OMNI_MODEL = "gemini-omni-1.1-flash"
WAIT_SECONDS = 90.0

Json = dict[str, Any]


class GoogleEmulator:
    """Starts the emulator on a free port; the same object can be stopped and started again."""

    def __init__(self, state_dir: Path, *options: str) -> None:
        self.state_dir = state_dir
        self._options = options
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str] = queue.Queue()
        self.url = ""

    @property
    def process(self) -> subprocess.Popen[str]:
        assert self._process is not None
        return self._process

    def start(self) -> None:
        command = [sys.executable, "-m", "devstack.emulators.google", "--state-dir", str(self.state_dir)]
        command += [
            "--api-key",
            KEY,
            "--vertex-token",
            VERTEX_TOKEN,
            "--image-seconds",
            "0",
            "--video-seconds",
            "0.2",
            "--frames-per-second",
            str(FRAMES_PER_SECOND),
            *self._options,
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self._read, args=(self._process,), daemon=True).start()
        line = self.next_line("listening")
        self.url = f"http://{line['host']}:{line['port']}"

    def next_line(self, event: str) -> Json:
        """Return the next log line of that event."""
        while True:
            line: Json = json.loads(self._lines.get(timeout=WAIT_SECONDS))
            if line["event"] == event:
                return line

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        process, self._process = self.process, None
        process.send_signal(number)
        return process.wait(timeout=WAIT_SECONDS)

    def client(self) -> httpx.Client:
        headers = {"x-goog-api-key": KEY}
        return httpx.Client(base_url=self.url, headers=headers, timeout=WAIT_SECONDS, trust_env=False)

    @contextmanager
    def running(self) -> Iterator["GoogleEmulator"]:
        self.start()
        try:
            yield self
        finally:
            if self._process is not None:
                self.stop()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                self._lines.put(line)


def script(client: httpx.Client, *entries: Json) -> None:
    client.post("/_emulator/script", json=list(entries)).raise_for_status()


def report(client: httpx.Client) -> Json:
    answer: Json = client.get("/_emulator/requests").raise_for_status().json()
    return answer


def make_picture(
    client: httpx.Client, *parts: Json, prompt: str = "a lighthouse", model: str = IMAGE_MODEL, **config: Any
) -> httpx.Response:
    body: Json = {"contents": [{"role": "user", "parts": [{"text": prompt}, *parts]}]}
    if config:
        body["generationConfig"] = config
    return client.post(f"/v1beta/models/{model}:generateContent", json=body)


def submit_video(
    client: httpx.Client, *, prompt: str = "a lighthouse", image: Any = None, **parameters: Any
) -> httpx.Response:
    instance: Json = {"prompt": prompt} | ({} if image is None else {"image": image})
    body: Json = {"instances": [instance]} | ({"parameters": parameters} if parameters else {})
    return client.post(f"/v1beta/models/{VIDEO_MODEL}:predictLongRunning", json=body)


def create_interaction(client: httpx.Client, *, prompt: Any = "a lighthouse", **fields: Any) -> httpx.Response:
    """Order a film of Gemini Omni; `fields` are further ones of the body, None leaves one out."""
    video = {"type": "video", "delivery": "uri", "duration": "3s", "resolution": "360p"}
    body = {"model": OMNI_MODEL, "input": prompt, "background": True, "response_format": video} | fields
    return client.post("/v1beta/interactions", json={name: value for name, value in body.items() if value is not None})


def await_interaction(client: httpx.Client, name: str) -> Json:
    """Poll the interaction until it has ended."""
    return wait_for(
        lambda: client.get(f"/v1beta/interactions/{name}").raise_for_status().json(),
        lambda body: body["status"] not in ("queued", "in_progress"),
    )


def await_operation(client: httpx.Client, name: str) -> Json:
    """Poll the operation until it has ended."""
    return wait_for(lambda: client.get(f"/v1beta/{name}").raise_for_status().json(), lambda body: "done" in body)


def download(client: httpx.Client, operation: Json) -> bytes:
    uri: str = operation["response"]["generateVideoResponse"]["generatedSamples"][0]["video"]["uri"]
    assert uri.startswith("https://generativelanguage.googleapis.com/v1beta/files/")
    return client.get(uri.removeprefix("https://generativelanguage.googleapis.com")).raise_for_status().content


def open_png(data: bytes) -> Image.Image:
    with Image.open(BytesIO(data)) as picture:
        assert picture.format == "PNG"
        return picture.convert("RGB")


def encode(picture: Image.Image, kind: str = "PNG") -> bytes:
    buffer = BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


def mean_difference(one: Image.Image, other: Image.Image) -> float:
    """Return the mean absolute difference of the channels, 0 to 255."""
    means = ImageStat.Stat(ImageChops.difference(one, other)).mean
    return sum(means) / len(means)


def changed_share(one: Image.Image, other: Image.Image) -> float:
    """Return the share of pixels that differ clearly (by 8 of 255 or more in grey)."""
    histogram = ImageChops.difference(one, other).convert("L").histogram()
    return sum(histogram[8:]) / sum(histogram)


class Film:
    """What a decoder says about an MP4."""

    def __init__(self, data: bytes) -> None:
        with av.open(BytesIO(data)) as container:
            self.names = [stream.codec_context.name for stream in container.streams]
            self.rate = container.streams.video[0].average_rate
            self.first, self.last, self.frames = self._decode(container)
        with av.open(BytesIO(data)) as container:
            self.loudest = max(self._peaks(container)) if container.streams.audio else 0.0
        self.fast_start = data.index(b"moov") < data.index(b"mdat")

    @staticmethod
    def _decode(container: Any) -> tuple[Image.Image, Image.Image, int]:
        count = 0
        for frame in container.decode(video=0):
            if count == 0:
                first = frame.to_image()
            count += 1
        return first, frame.to_image(), count

    @staticmethod
    def _peaks(container: Any) -> Iterator[float]:
        for frame in container.decode(audio=0):
            yield max(abs(sample) for sample in memoryview(bytes(frame.planes[0])).cast("f"))
