"""RabbitMQ: reachable, its certificate, its queues as they are declared."""

from __future__ import annotations

from storyboard.api.errors import ExitCode
from storyboard.api.settings import secret
from storyboard.doctor.environment import host_of, is_inside
from storyboard.doctor.findings import Finding, failed, not_set, ok, warning
from superstoryboard.inspection.broker import (
    QUEUES,
    BrokerInspectionError,
    BrokerProblem,
    QueueFacts,
    QueueState,
    inspect_broker,
)

MENDS = {
    BrokerProblem.URL: "Write AMQP_URL as amqp://USER:PASSWORD@HOST:5672/ or amqps://USER:PASSWORD@HOST:5671/.",
    BrokerProblem.UNREACHABLE: "Check host and port of AMQP_URL, and that RabbitMQ runs; without AMQP_URL the"
    " asset_writer polls the database.",
    BrokerProblem.PASSWORD: "Correct user and password in AMQP_URL; guest can connect from the same machine only.",
    BrokerProblem.VHOST: "Correct the virtual host at the end of AMQP_URL (%2F is /), and give the user rights on it.",
    BrokerProblem.CERTIFICATE: "Name the broker's CA in AMQP_URL (?cafile=/path/to/ca.pem), and the host exactly as the"
    " certificate does.",
    BrokerProblem.TLS: "Use amqps:// with the TLS port (5671) and amqp:// with the plain one (5672).",
}


async def check_broker() -> list[Finding]:
    """Everything that needs AMQP_URL."""
    url = secret("AMQP_URL")
    if not url:
        return [not_set("broker", "AMQP_URL, so the asset_writer polls the database")]
    findings: list[Finding] = []
    try:
        async with inspect_broker(url) as inspection:
            findings.append(_broker(url, inspection.product))
            findings += [_queue(name, await inspection.queue(name)) for name in QUEUES]
    except BrokerInspectionError as error:
        codes = {BrokerProblem.UNREACHABLE: ExitCode.UNREACHABLE, BrokerProblem.URL: ExitCode.USAGE}
        code = codes.get(error.problem, ExitCode.FAILED)
        findings.append(failed("broker", str(error), MENDS[error.problem], code))
    return findings


def _broker(url: str, product: str) -> Finding:
    if url.startswith("amqps:"):
        return ok("broker", f"{product}, TLS")
    if is_inside(host_of(url)):
        return ok("broker", f"{product}, without TLS")
    return warning("broker", f"{product}, without TLS", "Use amqps:// in AMQP_URL: passwords are sent in plain text.")


def _queue(name: str, facts: QueueFacts) -> Finding:
    label = "broker queue"
    if facts.state is QueueState.MISSING:
        return ok(label, f"{name} does not exist yet; services declare it when they connect")
    if facts.state is QueueState.OTHER_ARGUMENTS:
        action = "Delete that queue in RabbitMQ. Services declare it again; the jobs are in Postgres."
        return failed(label, f"{name} has a different type or different arguments than the services declare", action)
    if facts.state is QueueState.NO_RIGHT:
        action = "Give the user of AMQP_URL the rights configure, write and read on superstoryboard.*."
        return failed(label, f"this user may not declare {name}", action)
    return ok(label, f"{name}, {facts.messages} waiting")
