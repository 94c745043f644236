"""Secrets that the run's processes hold or are sent, which no output may hold."""

from __future__ import annotations

from tests.conformance.video_routes import KEY as ADAPTER_KEY
from tests.emulators import storage_fixture
from tests.running import ALICE, BOB, SECRET, SERVICE

GOOGLE_KEY = "planted-key-of-google-4f81c2"
PASSWORD = "planted-password-of-the-database-77ab"
SIGNATURE = "planted-signature-of-a-url-9d20e6"
SIGNED = f"https://pictures.example/storage/v1/object/sign/b/a.png?token={SIGNATURE}"
PROMPT = "a planted prompt of a harbour at dusk, 5c19"
_CALLERS = (("a user", ALICE), ("another user", BOB), ("a backend", SERVICE))


def planted(service_token: str) -> dict[str, str]:
    """The secrets, by a name that may be printed."""
    tokens = {f"the token of {name}": str(metadata[0][1]).removeprefix("Bearer ") for name, metadata in _CALLERS}
    return tokens | {
        "a service token": service_token,
        "the JWT secret": SECRET,
        "the key of Google": GOOGLE_KEY,
        "the key of the adapters": ADAPTER_KEY,
        "the key of Storage": storage_fixture.SECRET_KEY,
        "the staging key": storage_fixture.STAGING_KEY,
        "the password of the database": PASSWORD,
        "the signature of a URL": SIGNATURE,
        "a prompt": PROMPT,
    }
