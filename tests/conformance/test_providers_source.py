"""Source images: what is fetched, from where, and what each refusal says."""

import gzip

import pytest

from superstoryboard.domain.errors import ErrorClass, JobFailure
from superstoryboard.domain.media import MediaType
from superstoryboard.providers.source import SourceFetcher
from tests.conformance.http_stub import Answer, Stub, serve
from tests.conformance.source_steps import OBJECT, anyone, failure, fetcher, is_loopback, picture


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
async def test_the_own_storage_is_allowed_over_http_and_at_a_private_address(storage: Stub, form: str) -> None:
    storage.answers[OBJECT] = Answer(body=picture(form), headers={"content-type": "application/octet-stream"})
    async with fetcher(storage) as sources:
        source = await sources.fetch(storage.url + OBJECT, anyone)
    assert source.media_type is MediaType[form]
    assert source.data == picture(form)


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        (Answer(404), "SOURCE_NOT_FOUND", "sourceImageUrl returned HTTP 404"),
        (Answer(410), "SOURCE_NOT_FOUND", "sourceImageUrl returned HTTP 404"),
        (
            Answer(400, b'{"statusCode":"404","error":"not_found","message":"Object not found"}'),
            "SOURCE_NOT_FOUND",
            "sourceImageUrl returned HTTP 404",
        ),
        (
            Answer(400, b'{"statusCode":"400"}'),
            "SOURCE_NOT_READABLE",
            "sourceImageUrl returned HTTP 400; an image in",
        ),
        (Answer(400, b"<html>"), "SOURCE_NOT_READABLE", "sourceImageUrl returned HTTP 400"),
        (Answer(403), "SOURCE_NOT_READABLE", "sourceImageUrl returned HTTP 403"),
        (
            Answer(200, b"<html>hello</html>", {"content-type": "text/html; charset=utf-8"}),
            "SOURCE_NOT_IMAGE",
            "sourceImageUrl must be a readable image: the file is not a PNG, JPEG or WebP image (content type text/html)",  # noqa: E501 - one sentence
        ),
        (
            Answer(200, picture()[:40]),
            "SOURCE_NOT_IMAGE",
            "sourceImageUrl must be a readable image: the image/png file is damaged: it does not decode",
        ),
        (Answer(200, b""), "SOURCE_NOT_IMAGE", "sourceImageUrl must be a readable image: the file is not"),
        (
            Answer(302, headers={"location": "https://xn--a/x"}),
            "SOURCE_NOT_ALLOWED",
            "sourceImageUrl must have a valid",
        ),
        (
            Answer(302, headers={"location": "https://xn--tude-9oa.example/x"}),
            "SOURCE_NOT_ALLOWED",
            "sourceImageUrl must be in",
        ),
        (
            Answer(302, headers={"location": "https://[::1/x"}),
            "SOURCE_NOT_ALLOWED",
            "sourceImageUrl is not a valid URL",
        ),
        (Answer(302, headers={"location": "https://a:b@c/x"}), "SOURCE_NOT_ALLOWED", "sourceImageUrl must not contain"),
        (Answer(302, headers={"location": "file:///etc/passwd"}), "SOURCE_NOT_ALLOWED", "sourceImageUrl must be an"),
        (
            Answer(400, b'{"a":' * 700 + b"1" + b"}" * 700),
            "SOURCE_NOT_READABLE",
            "sourceImageUrl returned HTTP 400; an image in",
        ),
        (
            Answer(400, b'{"statusCode":' + b"9" * 4000 + b"}"),
            "SOURCE_NOT_READABLE",
            "sourceImageUrl returned HTTP 400; an image in",
        ),
        (
            Answer(200, gzip.compress(bytes(50_000_000)), {"content-encoding": "gzip", "content-type": "image/png"}),
            "SOURCE_NOT_IMAGE",
            "sourceImageUrl must be a readable image: the file is not a PNG, JPEG or WebP image (content type image",
        ),
        (Answer(302, headers={"location": "http://127.0.0.1:1/x"}), "SOURCE_NOT_ALLOWED", "sourceImageUrl must be in"),
        (Answer(302, headers={"location": OBJECT}), "SOURCE_NOT_READABLE", "sourceImageUrl redirects more than 3"),
    ],
)
async def test_answers_that_end_the_job(storage: Stub, answer: Answer, code: str, message: str) -> None:
    storage.answers[OBJECT] = answer
    async with fetcher(storage) as sources:
        error = await failure(sources, storage.url + OBJECT)
    assert (error.error_class, error.code) == (ErrorClass.INVALID, code)
    assert error.message.startswith(message)


@pytest.mark.parametrize(
    "answer", [Answer(500), Answer(503), Answer(429), Answer(cut=True), Answer(body=picture(), length=10_000)]
)
async def test_answers_that_may_be_better_next_time(storage: Stub, answer: Answer) -> None:
    storage.answers[OBJECT] = answer
    async with fetcher(storage) as sources:
        error = await failure(sources, storage.url + OBJECT)
    assert (error.error_class, error.code) == (ErrorClass.UNAVAILABLE_DEPENDENCY, "SOURCE_UNAVAILABLE")
    assert error.message.startswith("sourceImageUrl ")


async def test_the_own_storage_is_waited_for_where_it_is_away_and_no_other_host() -> None:
    sources = SourceFetcher(["http://127.0.0.1:9"], ["localhost"], address_allowed=is_loopback)
    own = await failure(sources, f"http://127.0.0.1:9{OBJECT}")
    other = await failure(sources, "https://localhost:9/x.png")
    await sources.aclose()
    assert (own.error_class, own.code) == (ErrorClass.UNAVAILABLE_DEPENDENCY, "SOURCE_UNAVAILABLE")
    assert (other.error_class, other.code) == (ErrorClass.TRANSIENT, "SOURCE_UNAVAILABLE")


@pytest.mark.parametrize(
    "answer", [Answer(stall=True, length=5), Answer(body=picture(), length=10_000, stall=True)], ids=["body", "rest"]
)
async def test_a_server_that_says_no_more_is_left_in_time(storage: Stub, answer: Answer) -> None:
    storage.answers[OBJECT] = answer
    sources = SourceFetcher([storage.url], timeout_seconds=0.2)
    error = await failure(sources, storage.url + OBJECT)
    await sources.aclose()
    assert (error.code, error.message) == ("SOURCE_UNAVAILABLE", "sourceImageUrl did not respond in time")
    assert error.error_class is ErrorClass.UNAVAILABLE_DEPENDENCY


async def test_a_signed_url_is_fetched_with_its_token_and_without_a_key(storage: Stub) -> None:
    path = "/storage/v1/object/sign/private/a.png"
    storage.answers[path] = Answer(body=picture())
    async with fetcher(storage) as sources:
        await sources.fetch(f"{storage.url}{path}?token=abc.def.ghi", anyone)
    (asked,) = storage.asked
    assert asked.target == f"{path}?token=abc.def.ghi"
    assert not {"authorization", "apikey", "cookie"} & set(asked.headers)


async def test_the_storage_may_send_on_to_its_own_public_address(storage: Stub) -> None:
    async with serve() as public:
        public.answers[OBJECT] = Answer(body=picture())
        storage.answers[OBJECT] = Answer(302, headers={"location": public.url + OBJECT})
        sources = SourceFetcher([storage.url, public.url], max_bytes=100_000)
        assert (await sources.fetch(storage.url + OBJECT, anyone)).data == picture()
        await sources.aclose()


async def test_the_wait_that_was_asked_for_is_kept(storage: Stub) -> None:
    storage.answers[OBJECT] = Answer(429, headers={"retry-after": "17"})
    async with fetcher(storage) as sources:
        with pytest.raises(JobFailure) as caught:
            await sources.fetch(storage.url + OBJECT, anyone)
    assert caught.value.retry_after_seconds == 17


async def test_a_server_that_is_away_may_be_back() -> None:
    async with serve() as gone:
        url = gone.url
    sources = SourceFetcher([url])
    error = await failure(sources, url + OBJECT)
    await sources.aclose()
    assert error.message == "sourceImageUrl could not be reached"


@pytest.mark.parametrize("length", [None, 10_000_000])
async def test_reading_stops_at_the_limit(storage: Stub, length: int | None) -> None:
    storage.answers[OBJECT] = Answer(body=bytes(2000), length=length)
    async with fetcher(storage, max_bytes=1000) as sources:
        error = await failure(sources, storage.url + OBJECT)
    assert (error.code, error.message) == ("SOURCE_TOO_LARGE", "sourceImageUrl must be at most 1000 bytes")
