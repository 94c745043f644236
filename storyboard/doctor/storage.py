"""Supabase Storage: answers, what each key may do, the buckets and their rules."""

from __future__ import annotations

from collections.abc import Sequence

from storyboard.api.errors import ExitCode
from storyboard.api.settings import secret
from storyboard.doctor.environment import host_of, is_inside, secret_key, value
from storyboard.doctor.findings import Finding, State, failed, not_set, ok, unreachable, warning
from storyboard.doctor.keys import describe_storage_key, read_token
from superstoryboard.config.addresses import address_problem
from superstoryboard.inspection.storage import (
    PROBE_TYPE,
    Bucket,
    ProbeResult,
    Rights,
    StorageInspection,
    StorageInspectionError,
    inspect_storage,
)
from superstoryboard.storage.buckets import (
    FINAL_BUCKETS,
    IMAGES,
    VIDEOS,
    BucketDefinition,
    UrlKind,
    final_buckets,
    staging_bucket,
)
from superstoryboard.storage.causes import Cause

DEFAULT_STAGING_BUCKET = "artifact-staging"
START_WRITER = "Start the asset_writer, which creates missing buckets, or create it in the dashboard."


async def check_storage() -> list[Finding]:
    """Everything that needs SUPABASE_URL."""
    url = value("SUPABASE_URL")
    if not url:
        return [not_set("storage", "SUPABASE_URL")]
    findings = [await _address("storage", "SUPABASE_URL", url)]
    public_url = value("SUPABASE_PUBLIC_URL")
    if public_url and public_url != url:
        findings.append(await _address("public storage", "SUPABASE_PUBLIC_URL", public_url))
    if findings[0].state is State.FAILED:
        return findings
    try:
        async with inspect_storage(url, _api_key()) as inspection:
            findings += await _secret_key(inspection)
            findings += await _staging_key(inspection)
    except StorageInspectionError as error:
        findings.append(
            unreachable("storage", str(error), "Try again. If the problem persists, check the project's health page.")
        )
    return findings


async def _address(name: str, setting: str, url: str) -> Finding:
    problem = address_problem(url, path_allowed=setting == "SUPABASE_PUBLIC_URL")
    if problem is not None:
        fault, _, right = problem.partition("; ")
        return failed(name, f"{setting}: {fault}", f"{right[:1].upper()}{right[1:]}", ExitCode.USAGE)
    action = f"Set {setting} to the project's URL, such as https://PROJECT.supabase.co, without a path."
    try:
        async with inspect_storage(url) as inspection:
            answers = await inspection.is_storage()
    except StorageInspectionError as error:
        return unreachable(name, str(error), action)
    if not answers:
        return failed(name, f"the server at {setting} is not Supabase Storage", action)
    if url.startswith("http://") and not is_inside(host_of(url)):
        return warning(name, f"{setting} responds, without TLS", "Use https: keys are sent in plain text.")
    return ok(name, f"{setting} responds")


def _api_key() -> str | None:
    return secret("SUPABASE_ANON_KEY") or secret("SUPABASE_PUBLISHABLE_KEY") or None


async def _secret_key(inspection: StorageInspection) -> list[Finding]:
    key, setting = secret_key()
    if not key:
        return [not_set("secret key", "SUPABASE_SECRET_KEY, so buckets cannot be listed")]
    action = f"Copy the secret key (sb_secret_…) of this project into {setting}: Project Settings > API Keys."
    sort = describe_storage_key(key)
    token = read_token(key)
    if key.startswith("sb_publishable_") or (token and token.role not in ("", "service_role")):
        return [failed("secret key", f"{setting} is not a secret key but a {sort}", action)]
    buckets = await inspection.buckets(key) if _can_be_sent(key) else Rights.BAD_KEY
    if isinstance(buckets, Rights):
        if buckets.cause is not None:
            return [_refused(setting, "secret key", key, buckets.cause)]
        words = "was rejected" if buckets is Rights.BAD_KEY else "may not list buckets"
        return [failed("secret key", f"{setting} ({sort}) {words}", action)]
    return [ok("secret key", f"{setting} ({sort}) lists {len(buckets)} buckets"), *_buckets(buckets)]


def _buckets(buckets: Sequence[Bucket]) -> list[Finding]:
    there = {bucket.id: bucket for bucket in buckets}
    staging = staging_bucket(value("STAGING_BUCKET", DEFAULT_STAGING_BUCKET))
    return [_bucket(definition, there.get(definition.id)) for definition in (*_final_buckets(), staging)]


def _final_buckets() -> tuple[BucketDefinition, ...]:
    """Public or private, as the settings of their URLs need them; a wrong setting is the services' to refuse."""
    kinds = [
        UrlKind.SIGNED if value(name) == UrlKind.SIGNED else UrlKind.PUBLIC for name in ("IMAGES_URL", "VIDEOS_URL")
    ]
    return final_buckets(*kinds)


def _bucket(definition: BucketDefinition, bucket: Bucket | None) -> Finding:
    name = f"bucket {definition.id}"
    if bucket is None:
        return failed(name, "it is missing", START_WRITER)
    text = _describe(bucket)
    if bucket.public != definition.public:
        if definition.public:
            return failed(name, f"it is private, so its public asset URLs do not work ({text})", "Make it public.")
        if definition.allowed_mime_types is not None:
            setting = "IMAGES_URL" if definition.id == IMAGES.id else "VIDEOS_URL"
            action = f"Make it private, or set {setting}=public."
            return warning(name, f"it is public, although {setting}=signed: anyone can read it ({text})", action)
        return warning(name, f"it is public: anyone can read unchecked artifacts ({text})", "Make it private.")
    lacking = _lacking_types(definition, bucket)
    if lacking:
        action = f"Allow {', '.join(lacking)} in it: assets of other types become dead letters."
        return failed(name, f"it does not accept {', '.join(lacking)} ({text})", action)
    return _limit(name, definition, bucket, text)


def _limit(name: str, definition: BucketDefinition, bucket: Bucket, text: str) -> Finding:
    limit = bucket.file_size_limit
    enough = definition.file_size_limit or VIDEOS.file_size_limit or 0
    if limit is not None and limit < enough:
        action = f"Raise its limit to {enough} bytes: larger assets become dead letters."
        return warning(name, f"it accepts at most {limit} bytes ({text})", action)
    if limit is None and definition.file_size_limit is not None:
        action = f"Check that the project's global limit is at least {definition.file_size_limit} bytes."
        return warning(name, f"it has no file size limit, so the project's limit applies ({text})", action)
    if definition.allowed_mime_types is not None and bucket.allowed_mime_types is None:
        action = f"Restrict it to {', '.join(definition.allowed_mime_types)}."
        return warning(name, f"it accepts every media type ({text})", action)
    return ok(name, text)


def _lacking_types(definition: BucketDefinition, bucket: Bucket) -> list[str]:
    if bucket.allowed_mime_types is None:
        return []
    needed = definition.allowed_mime_types
    if needed is None:
        needed = tuple(media for each in FINAL_BUCKETS for media in each.allowed_mime_types or ())
    accepted = set(bucket.allowed_mime_types)
    return [each for each in needed if not accepted & {each, f"{each.partition('/')[0]}/*", "*/*"}]


def _describe(bucket: Bucket) -> str:
    limit = "no limit" if bucket.file_size_limit is None else f"{bucket.file_size_limit} bytes"
    types = "any type" if bucket.allowed_mime_types is None else ", ".join(bucket.allowed_mime_types)
    return f"{'public' if bucket.public else 'private'}, {limit}, {types}"


async def _staging_key(inspection: StorageInspection) -> list[Finding]:
    key = secret("SUPABASE_STAGING_KEY")
    if not key:
        return [not_set("staging key", "SUPABASE_STAGING_KEY, so workers use SUPABASE_SECRET_KEY where they have it")]
    bucket = value("STAGING_BUCKET", DEFAULT_STAGING_BUCKET)
    cleaner, _ = secret_key()
    if not _can_be_sent(key):
        return [_refused_staging_key(key)]
    done = await inspection.probe(key, bucket, PROBE_TYPE, cleaner_key=cleaner)
    broken = _broken_staging(done, bucket, key)
    if broken is not None:
        return [broken]
    if key == cleaner:
        action = "Create a staging key that can write the staging bucket only (docs/STAGING-KEY.md)."
        return [warning("staging key", "it is the secret key, which can write every bucket", action)]
    return [await _only_staging(inspection, key, cleaner, bucket)]


def _broken_staging(done: ProbeResult, bucket: str, key: str) -> Finding | None:
    policies = (
        f"Let the policies on storage.objects allow insert, select and delete in bucket {bucket} to this key's role."
    )
    if done.write is Rights.BAD_KEY:
        return _refused_staging_key(key)
    if done.write.cause is not None:
        return _refused("SUPABASE_STAGING_KEY", "staging key", key, done.write.cause)
    if done.write is Rights.MISSING:
        other = "or the key was signed for another project"
        return failed("staging key", f"the bucket {bucket} is missing, {other}", START_WRITER)
    if done.write is Rights.OTHER_LIMITS:
        action = "Remove its limits on size and media type, or set STAGING_BUCKET to another bucket."
        return failed("staging key", f"the bucket {bucket} rejects a small PNG", action)
    verbs = {"write": done.write, "read": done.read, "delete": done.delete}
    lacking = [verb for verb, rights in verbs.items() if rights is not None and rights is not Rights.ALLOWED]
    if lacking:
        left = f"; the test object {done.left_behind} must be removed by hand" if done.left_behind else ""
        return failed("staging key", f"it may not {' or '.join(lacking)} in {bucket}{left}", policies)
    return None


async def _only_staging(inspection: StorageInspection, key: str, cleaner: str, bucket: str) -> Finding:
    results = {
        each.id: await inspection.probe(key, each.id, (each.allowed_mime_types or ("",))[0], cleaner_key=cleaner)
        for each in FINAL_BUCKETS
    }
    writable = [name for name, done in results.items() if done.write is Rights.ALLOWED]
    left = [done.left_behind for done in results.values() if done.left_behind]
    if writable:
        stayed = f"; these test objects could not be removed: {', '.join(left)}" if left else ""
        action = f"Use a key whose role has policies for bucket {bucket} alone."
        also = f"it ({describe_storage_key(key)}) can also write {', '.join(writable)}{stayed}"
        return warning("staging key", also, action)
    return _good_staging(key, bucket)


def _good_staging(key: str, bucket: str) -> Finding:
    sort = describe_storage_key(key)
    token = read_token(key)
    if token is not None and token.expires_soon:
        return warning("staging key", f"works in {bucket} only ({sort})", "Create a new one before it expires.")
    return ok("staging key", f"writes, reads and deletes in {bucket} only ({sort})")


def _refused_staging_key(key: str) -> Finding:
    action = "Create it again, signed with this project's JWT secret, and check that it has not expired."
    return failed("staging key", f"SUPABASE_STAGING_KEY ({describe_storage_key(key)}) was rejected", action)


def _refused(setting: str, name: str, key: str, cause: Cause) -> Finding:
    why, _, action = str(cause).partition(": ")
    return failed(
        name, f"{setting} ({describe_storage_key(key)}) was rejected: {why}", f"{action[:1].upper()}{action[1:]}"
    )


def _can_be_sent(key: str) -> bool:
    return key.isascii() and key.isprintable()
