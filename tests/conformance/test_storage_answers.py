"""What Storage, or whoever stands before it, may answer: each body becomes a StorageError."""

from pathlib import Path

import pytest

from superstoryboard.storage.errors import StorageError, StorageErrorKind
from superstoryboard.storage.objects import ObjectStore
from tests.conformance.http_stub import Answer, Stub

OBJECT = "/storage/v1/object/bucket/a.png"
INFO = "/storage/v1/object/info/bucket/a.png"
NESTED = b'{"a":' * 5000 + b"1" + b"}" * 5000


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(NESTED, id="nested"),
        pytest.param(b"[" * 100_000, id="open"),
        pytest.param(b"[1,2]", id="list"),
        pytest.param(b'{"statusCode": ' + b"9" * 5000 + b', "error": "x"}', id="digits"),
        pytest.param(b'{"statusCode": "' + b"9" * 5000 + b'", "error": "x"}', id="text-of-digits"),
        pytest.param(b'{"statusCode": {}, "error": [], "message": 1}', id="types"),
        pytest.param(b"\xff\xfe\x00", id="bytes"),
        pytest.param(b"", id="nothing"),
    ],
)
async def test_any_refusal_is_a_storage_error(storage: Stub, tmp_path: Path, body: bytes) -> None:
    storage.answers[OBJECT] = storage.answers[INFO] = Answer(500, body)
    store = await ObjectStore.connect(url=storage.url, key="a-key", timeout_seconds=60)
    try:
        for call in (
            lambda: store.download_to("bucket", "a.png", tmp_path / "a", 1000),
            lambda: store.stat("bucket", "a.png"),
            lambda: store.upload("bucket", "a.png", b"x", "image/png"),
        ):
            with pytest.raises(StorageError) as caught:
                await call()
            assert caught.value.kind is StorageErrorKind.UNAVAILABLE
            assert len(str(caught.value)) < 300
    finally:
        await store.aclose()
