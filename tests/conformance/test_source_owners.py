"""Where a source URL leads to a private bucket of ours, at once or by a redirect, its owner is asked before Storage."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from superstoryboard.domain.errors import JobFailure
from superstoryboard.providers.source import SourceFetcher
from tests.conformance.http_stub import Answer, Stub, contexts, serve
from tests.conformance.source_steps import OBJECT, anyone, failure, is_loopback, picture

STAGING = "a-staging-bucket"
PRIVATE = {
    "signed": ("/storage/v1/object/sign/storyboard-images/hers/a.png?token=x", "hers"),
    "authenticated": ("/storage/v1/object/authenticated/storyboard-videos/hers/a.mp4", "hers"),
    "escaped": ("/storage/v1/object/sign/storyboard%2Dimages%2F%68ers/a.png", "hers"),
    "rendered": ("/storage/v1/render/image/sign/storyboard-images/hers/a.png", "hers"),
    "staging": (f"/storage/v1/object/sign/{STAGING}/hers/a.png?token=x", ""),
    "staging, without a form": (f"/storage/v1/object/{STAGING}/hers/a.png", ""),
    "staging, by S3": (f"/storage/v1/s3/{STAGING}/storyboard-images/hers/a.png", ""),
}


@dataclass
class Readers:
    """Answers who may read, and keeps which storyboards were asked for."""

    storyboards: tuple[str, ...] = ()
    asked: list[str] = field(default_factory=list)

    async def may_read(self, storyboard: str) -> bool:
        self.asked.append(storyboard)
        return storyboard in self.storyboards


@pytest.fixture
async def sources(storage: Stub) -> AsyncIterator[SourceFetcher]:
    fetcher = SourceFetcher([storage.url], staging_bucket=STAGING)
    yield fetcher
    await fetcher.aclose()


async def refused(sources: SourceFetcher, url: str, storyboard: str) -> None:
    readers = Readers()
    with pytest.raises(JobFailure, match="that the job's owner may not read") as caught:
        await sources.fetch(url, readers.may_read)
    assert (caught.value.error.code, readers.asked) == ("SOURCE_NOT_YOURS", [storyboard])


@pytest.mark.parametrize("form", PRIVATE)
async def test_a_private_object_of_another_is_not_asked_for(storage: Stub, sources: SourceFetcher, form: str) -> None:
    path, storyboard = PRIVATE[form]
    await refused(sources, storage.url + path, storyboard)
    assert storage.asked == []


@pytest.mark.parametrize("form", PRIVATE)
@pytest.mark.parametrize("hops", [1, 2])
async def test_a_redirect_to_a_private_object_of_another_is_not_followed(
    storage: Stub, sources: SourceFetcher, form: str, hops: int
) -> None:
    path, storyboard = PRIVATE[form]
    ways = ["/storage/v1/object/public/other/1", "/storage/v1/object/public/other/2"][:hops]
    for way, location in zip(ways, [*ways[1:], path], strict=True):
        storage.answers[way] = Answer(302, headers={"location": location})
    await refused(sources, storage.url + ways[0], storyboard)
    assert [asked.target for asked in storage.asked] == ways


async def test_a_redirect_of_an_allowed_host_does_not_open_our_buckets(storage: Stub, tmp_path: Path) -> None:
    path, storyboard = PRIVATE["signed"]
    server_tls, client_tls = contexts(tmp_path, "localhost")
    sources = SourceFetcher([storage.url], ["localhost"], tls=client_tls, address_allowed=is_loopback)
    async with serve(server_tls) as shop:
        shop.answers["/x.png"] = Answer(302, headers={"location": storage.url + path})
        await refused(sources, f"https://localhost:{shop.port}/x.png", storyboard)
    await sources.aclose()
    assert storage.asked == []


async def test_an_inward_address_behind_two_redirects_is_refused(storage: Stub, sources: SourceFetcher) -> None:
    storage.answers[OBJECT] = Answer(302, headers={"location": OBJECT + "2"})
    storage.answers[OBJECT + "2"] = Answer(302, headers={"location": "https://169.254.169.254/latest/meta-data/"})
    assert (await failure(sources, storage.url + OBJECT)).code == "SOURCE_NOT_ALLOWED"
    assert len(storage.asked) == 2


async def test_what_the_owner_may_read_is_fetched(storage: Stub, sources: SourceFetcher) -> None:
    path = "/storage/v1/object/sign/storyboard-images/hers/a.png"
    storage.answers[path] = Answer(body=picture())
    storage.answers[OBJECT] = Answer(302, headers={"location": path})
    readers = Readers(("hers",))
    assert (await sources.fetch(storage.url + OBJECT, readers.may_read)).data == picture()
    assert readers.asked == ["hers"]
    assert (await sources.fetch(storage.url + path, anyone)).data == picture()
