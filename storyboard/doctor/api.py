"""The services as a client sees them: health, the token, and the secret that tokens are signed with."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from storyboard.api.client import Metadata, caller_metadata, connect
from storyboard.api.rpc_errors import advice, status_lines, status_of
from storyboard.api.settings import Endpoint, ingest_endpoint, secret, token, worker_endpoint
from storyboard.api.tls import certificate_end, connection_problem
from storyboard.doctor.environment import flag, host_of, is_inside, value
from storyboard.doctor.findings import Finding, State, failed, not_set, ok, unreachable, warning
from storyboard.doctor.keys import SOON, read_token
from superstoryboard.config.server import SHORTEST_SECRET_BYTES
from superstoryboard.domain.kinds import KINDS
from superstoryboard.v1 import generation_service_pb2, generation_service_pb2_grpc, queue_service_pb2
from superstoryboard.v1.queue_service_pb2_grpc import QueueServiceStub

CALL_SECONDS = 8.0
# Secrets that Supabase's own examples and tutorials carry, and words that people put for the time being.
WELL_KNOWN_SECRETS = frozenset(
    {
        "super-secret-jwt-token-with-at-least-32-characters-long",
        "your-super-secret-jwt-token-with-at-least-32-characters-long",
        "your-256-bit-secret",
        "a-string-secret-at-least-256-bits-long",
    }
)
SERVING = health_pb2.HealthCheckResponse.SERVING


async def check_ingest() -> list[Finding]:
    """Ingest's health, and what it says to STORYBOARD_TOKEN."""
    if not value("INGEST_ADDRESS"):
        return [not_set("ingest", "INGEST_ADDRESS")]
    return await asyncio.to_thread(_ingest)


async def check_workers() -> list[Finding]:
    """Health of the workers whose addresses are set."""
    findings = []
    for endpoint in map(worker_endpoint, KINDS.values()):
        if value(endpoint.setting):
            findings.append(await asyncio.to_thread(_health, endpoint))
        else:
            findings.append(not_set(endpoint.service, endpoint.setting))
    return findings


async def check_jwt_secret() -> list[Finding]:
    """The secret that services verify tokens with."""
    if flag("AUTH_DISABLED"):
        return [warning("jwt secret", "AUTH_DISABLED: every caller is trusted", "Turn it off outside development.")]
    jwt_secret = secret("SUPABASE_JWT_SECRET")
    action = "Use the project's JWT secret (Project Settings > JWT Keys), or generate one: `openssl rand -base64 48`."
    if not jwt_secret:
        return [not_set("jwt secret", "SUPABASE_JWT_SECRET")]
    if jwt_secret.lower() in WELL_KNOWN_SECRETS or len(set(jwt_secret)) < SHORTEST_SECRET_BYTES // 4:
        return [failed("jwt secret", "SUPABASE_JWT_SECRET is a well-known default value", action)]
    if len(jwt_secret.encode()) < SHORTEST_SECRET_BYTES:
        return [failed("jwt secret", f"SUPABASE_JWT_SECRET is shorter than {SHORTEST_SECRET_BYTES} bytes", action)]
    return [ok("jwt secret", "SUPABASE_JWT_SECRET is long enough and not a known default")]


def _ingest() -> list[Finding]:
    endpoint = ingest_endpoint()
    health = _health(endpoint, "ingest")
    if health.state is State.FAILED:
        return [health]
    return [health, _token(endpoint)]


def _health(endpoint: Endpoint, name: str = "") -> Finding:
    name = name or endpoint.service
    try:
        with connect(endpoint) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            status = stub.Check(health_pb2.HealthCheckRequest(), timeout=CALL_SECONDS).status
    except grpc.RpcError as error:
        if error.code() in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL):
            return failed(name, f"{endpoint.address} is another service", f"Set {endpoint.setting} to where it runs.")
        if problem := connection_problem(endpoint):
            reason, _, action = problem.partition(". ")
            return unreachable(name, f"{endpoint.address} {reason}", action)
        action = f"Start it (`storyboard up` starts all), or set {endpoint.setting} to where it runs."
        return unreachable(name, f"no service responds at {endpoint.address}", action)
    if status != SERVING:
        action = "Check its log: the database is unavailable, or not migrated."
        return unreachable(name, f"{endpoint.address} responds, but is not ready", action)
    return _transport(endpoint, name)


def _transport(endpoint: Endpoint, name: str) -> Finding:
    """A service that is SERVING, and how it is spoken to."""
    serving = f"{endpoint.address} is SERVING"
    if not endpoint.tls:
        if is_inside(host_of(f"//{endpoint.address}")):
            return ok(name, f"{serving}, without TLS")
        action = f"Turn on TLS there, and set {endpoint.setting} to https://{endpoint.address}."
        return warning(name, f"{serving}, without TLS: tokens travel in plaintext", action)
    end = certificate_end(endpoint)
    if end is None:
        return ok(name, f"{serving}, over TLS")
    state = f"{serving}, over TLS; its certificate expires {end:%Y-%m-%d %H:%MZ}"
    if end <= datetime.now(UTC) + SOON:
        return warning(name, state, "Renew the files of its GRPC_TLS_CERT and GRPC_TLS_KEY.")
    return ok(name, state)


def _token(endpoint: Endpoint) -> Finding:
    claims = read_token(token())
    expiry = f", {claims.expiry}" if claims else ""
    metadata = caller_metadata()
    try:
        role = _accepted_role(endpoint, metadata)
    except grpc.RpcError as error:
        status = status_of(error)
        words = " ".join(status_lines(status))
        if error.code() not in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
            return unreachable("token", f"ingest could not check the token: {words}", "Try again.")
        if not metadata:
            return not_set("token", "STORYBOARD_TOKEN, but ingest requires a token")
        return failed("token", f"STORYBOARD_TOKEN was rejected: {words}{expiry}", " ".join(advice(status)))
    if not metadata:
        return warning(
            "token",
            "ingest trusts every caller",
            "Set SUPABASE_URL or SUPABASE_JWT_SECRET for ingest, except on a developer's machine.",
        )
    text = f"STORYBOARD_TOKEN is accepted as {role}{expiry}"
    if claims is not None and claims.expires_soon:
        return warning("token", text, "Create a new one before it expires.")
    return ok("token", text)


def _accepted_role(endpoint: Endpoint, metadata: Metadata) -> str:
    """The role by what ingest lets the caller do; both calls only read.

    Raises:
        grpc.RpcError: the token is refused, or ingest cannot answer.
    """
    with connect(endpoint) as channel:
        jobs = generation_service_pb2_grpc.GenerationServiceStub(channel)
        request = generation_service_pb2.ListJobsRequest(page_size=1)
        jobs.ListJobs(request, timeout=CALL_SECONDS, metadata=metadata)
        try:
            queues = QueueServiceStub(channel)
            queues.ListQueues(queue_service_pb2.ListQueuesRequest(), timeout=CALL_SECONDS, metadata=metadata)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.PERMISSION_DENIED:
                return "authenticated"
            raise
    return "service_role"
