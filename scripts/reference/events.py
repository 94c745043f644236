"""Events: fields, states and classes from the protos, names at the broker from the module that publishes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from reference.page import ROOT, code, page, table
from superstoryboard.broker import events

PROTOS = ROOT / "proto" / "superstoryboard" / "v1"
KINDS_AND_STATES = ("JobKind", "JobState", "ErrorClass")


def events_page() -> str:
    """docs/reference/events.md."""
    text = "\n".join(path.read_text() for path in sorted(PROTOS.glob("*.proto")))
    introduction = (
        "What `WatchJobs` streams, what RabbitMQ gets, and the words in both. The messages of events are sentences "
        "for people and may change; programs read state, class and code ([errors](errors.md))."
    )
    broker = (
        "With `EVENTS_AMQP_URL` set, ingest publishes each event to the durable topic exchange "
        f"`{events.EVENTS_EXCHANGE}`, as the proto3 JSON of `{events.EVENT_TYPE}`. The routing key is `KIND.STATE` "
        "in lower case, the message id the sequence. At least once, in order within a job."
    )
    parts = [
        f"## JobEvent\n\n{table(('field', 'type', 'meaning'), _fields(text, 'JobEvent'))}",
        f"## RabbitMQ\n\n{broker}",
    ]
    words = [f"## {name}\n\n{table(('value', 'meaning'), _values(text, name))}" for name in KINDS_AND_STATES]
    return page("Events", introduction, *parts, *words)


def _body(text: str, kind: str, name: str) -> str:
    match = re.search(rf"^{kind} {name} {{\n(.*?)^}}", text, re.MULTILINE | re.DOTALL)
    if match is None:
        raise LookupError(f"no {kind} {name} in the protos")
    return match[1]


def _commented(body: str, member: str) -> Iterator[tuple[re.Match[str], str]]:
    for match in re.finditer(rf"((?:^ *//.*\n)+)^ *{member}", body, re.MULTILINE):
        yield match, " ".join(line.strip().removeprefix("//").strip() for line in match[1].splitlines())


def _fields(text: str, name: str) -> list[list[str]]:
    body = _body(text, "message", name)
    return [
        [code(match[3]), code(match[2]), comment]
        for match, comment in _commented(body, r"((?:repeated )?[\w.]+) (\w+) = \d+")
    ]


def _values(text: str, name: str) -> list[list[str]]:
    body = _body(text, "enum", name)
    return [[code(match[2]), comment] for match, comment in _commented(body, r"([A-Z_]+) = \d+")]
