"""The tables of a run, as Markdown."""

from __future__ import annotations

from collections import Counter, defaultdict

from tests.fuzz.run import GROWTH_SHARE
from tests.fuzz.tally import CORE, FAILED, Tally

Memory = dict[str, tuple[int, int]]
MEBIBYTE = 1024 * 1024


def verdict(tally: Tally, memory: Memory) -> list[str]:
    """What the run asks for, and whether it holds; the first word of each line says so."""
    grown = {name: after / before - 1 for name, (before, after) in memory.items()}
    checks = [
        (
            not tally.broken,
            f"INTERNAL, UNKNOWN, UNAVAILABLE or no answer from our code, tracebacks: {len(tally.broken)}",
        ),
        (not tally.leaks, f"planted secrets found: {len(tally.leaks)}"),
        (
            all(share <= GROWTH_SHARE for share in grown.values()),
            "memory after the warm-up and at the end: "
            + ", ".join(f"{name} {share:+.1%}" for name, share in grown.items()),
        ),
    ]
    return [f"{'ok' if good else 'FAILED'}: {what}" for good, what in checks]


def tables(tally: Tally) -> str:
    """Counts by status and by target; those of gRPC's core apart."""
    ours, core = tally.core(core=False), tally.core(core=True)
    statuses: Counter[str] = Counter()
    for (_, _, ending), count in ours.items():
        statuses[ending] += count
    lines = ["## By ending", "", "| ending | inputs |", "| --- | --- |"]
    lines += [f"| {ending} | {count} |" for ending, count in statuses.most_common()]
    lines += ["", "## By part and target", "", "| part | target | inputs | endings |", "| --- | --- | --- | --- |"]
    lines += _rows(ours)
    lines += ["", "## Answers to broken framing, by gRPC's core", ""]
    lines += [
        "Without details of ours: gRPC's own, and ours for health, reflection and unknown methods.",
        "",
        "| part | target | inputs | endings |",
        "| --- | --- | --- | --- |",
    ]
    lines += [row.replace(CORE, "") for row in _rows(core)]
    return "\n".join(lines)


def _rows(counts: dict[tuple[str, str, str], int]) -> list[str]:
    grouped: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for (part, target, ending), count in counts.items():
        grouped[part, target][ending] += count
    return [
        f"| {part} | {target} | {endings.total()} | "
        + ", ".join(f"{ending} {count}" for ending, count in endings.most_common())
        + " |"
        for (part, target), endings in sorted(grouped.items())
    ]


def document(tally: Tally, memory: Memory, seed: int, day: str) -> str:
    """The page of a whole run."""
    return "\n".join(
        [
            "# Fuzz",
            "",
            "Hostile inputs for every way into the system: every RPC of every service that reflection lists, with",
            "messages of odd values; raw bytes on the gRPC ports (HTTP/2 frames, heads, framing of messages,",
            "compression flags); bodies of the queues, sent by SQL and processed by the workers; answers of providers,",
            "Storage and Auth.",
            "Real processes on a real Postgres and RabbitMQ, against emulators. The same seed makes the same inputs.",
            "",
            f"What our code must answer to nothing: {', '.join(sorted(FAILED))}. Planted secrets (tokens of users",
            "and services, keys, the password of the database, the signature of a URL, a prompt) are searched for in",
            "answers, errors, logs, events, metrics, command lines and files.",
            "",
            f"Command: `make fuzz` · {day} · seed {seed} · {tally.inputs} inputs",
            "",
            *(f"- {line}" for line in verdict(tally, memory)),
            "",
            tables(tally),
            "",
        ]
    )
