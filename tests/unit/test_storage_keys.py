"""Keys of a Supabase project, told apart by their form, and buckets that do not fit."""

from __future__ import annotations

import jwt
import pytest

from superstoryboard.storage.buckets import IMAGES, VIDEOS, UrlKind, final_buckets, misfits, staging_bucket
from superstoryboard.storage.keys import STAGING_ROLE, Key, KeyForm, key_headers, key_problem, staging_warnings
from superstoryboard.storage.objects import BucketRules

SECRET = "a-secret-of-the-tests-that-is-long-enough"
NOW = 1_800_000_000.0
DAY = 86_400


def minted(role: str | None, **claims: object) -> str:
    return jwt.encode(({"role": role} if role else {}) | claims, SECRET)


SERVICE, ANON, STAGING = minted("service_role"), minted("anon"), minted(STAGING_ROLE)


@pytest.mark.parametrize("key", ["sb_secret_abc_123", SERVICE, "a-key-of-an-emulator"])
def test_api_keys_go_into_both_headers(key: str) -> None:
    assert key_headers(key, "sb_publishable_x") == {"apikey": key, "Authorization": f"Bearer {key}"}
    assert key_problem(key, "x") is None


def test_a_minted_key_is_no_api_key() -> None:
    assert key_headers(STAGING, "sb_publishable_x") == {
        "apikey": "sb_publishable_x",
        "Authorization": f"Bearer {STAGING}",
    }
    assert key_headers(STAGING) == {"Authorization": f"Bearer {STAGING}"}


@pytest.mark.parametrize("key", ["sb_publishable_x", ANON, minted("authenticated")])
def test_keys_of_browsers_write_nothing(key: str) -> None:
    assert key_problem(key, "the secret key") == (
        "is a publishable or anon key, which cannot write; set the secret key"
    )


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        (minted(None), "is a token without a role, which Storage rejects"),
        (minted(STAGING_ROLE, exp=int(NOW)), "has expired"),
        ("sb_secret_ä", "contains invalid characters"),
        ('"sb_secret_x"\n', "contains invalid characters"),
        ("Bearer x", "contains invalid characters"),
    ],
)
def test_keys_that_cannot_work_say_why(key: str, problem: str) -> None:
    assert key_problem(key, "another", now=NOW) == f"{problem}; set another"


def test_an_opaque_key_is_never_decoded() -> None:
    assert Key.read("sb_secret_eyJ.eyJ.x") == Key(KeyForm.SECRET)
    assert Key.read("a.b.c") == Key(KeyForm.OTHER)


def test_a_staging_key_is_praised_or_warned_of() -> None:
    fresh = minted(STAGING_ROLE, exp=int(NOW) + 90 * DAY)
    assert staging_warnings(fresh, "sb_publishable_x", now=NOW) == []
    (alone,) = staging_warnings(fresh, None, now=NOW)
    assert "SUPABASE_ANON_KEY" in alone
    (soon,) = staging_warnings(minted(STAGING_ROLE, exp=int(NOW) + 3 * DAY), "sb_publishable_x", now=NOW)
    assert soon == "The staging key expires in 3 days: create a new one"
    for mighty in ("sb_secret_x", SERVICE):
        (sentence,) = staging_warnings(mighty, None)
        assert "docs/STAGING-KEY.md" in sentence


def rules(*, public: bool = True, limit: int | None = None, types: tuple[str, ...] | None = None) -> BucketRules:
    return BucketRules(public, limit, types)


def test_a_bucket_that_fits_needs_no_words() -> None:
    for bucket in (IMAGES, VIDEOS):
        assert misfits(bucket, rules(types=bucket.allowed_mime_types, limit=bucket.file_size_limit)) == []
        assert misfits(bucket, rules()) == []
    assert misfits(VIDEOS, rules(types=("video/*",), limit=10**10)) == []
    assert misfits(staging_bucket("s"), rules(public=False)) == []


def test_each_misfit_says_what_to_do() -> None:
    (private,) = misfits(IMAGES, rules(public=False))
    assert "make it public, or set its URLs to signed" in private
    signed, _ = final_buckets(UrlKind.SIGNED, UrlKind.PUBLIC)
    (public,) = misfits(signed, rules())
    assert "make it private, or set its URLs to public" in public
    small, narrow = misfits(VIDEOS, rules(limit=52_428_800, types=("video/mp4",)))
    assert "raise its limit to 104857600" in small
    assert "does not accept video/webm" in narrow
    (staging_small,) = misfits(staging_bucket("s"), rules(public=False, limit=10))
    assert "The bucket s accepts objects of at most 10 bytes" in staging_small
    (staging_narrow,) = misfits(staging_bucket("s"), rules(public=False, types=("image/png",)))
    assert "application/octet-stream" in staging_narrow
