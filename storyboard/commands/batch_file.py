"""Reads a batch file: a JSON array of generations, each valid or named by its index."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from storyboard.api.errors import CommandError, ExitCode
from superstoryboard.domain.kinds import Kind
from superstoryboard.providers.validation import InvalidGeneration, parse_generation
from superstoryboard.v1.generation_service_pb2 import BatchItem

ITEMS_PER_CALL = 1000
BYTES_PER_CALL = 8 * 1024 * 1024


@dataclass
class Batch:
    """Good items and bad ones, each under its index in the file; and advice, in order, about those refused."""

    good: dict[int, BatchItem] = field(default_factory=dict)
    bad: dict[int, list[str]] = field(default_factory=dict)
    advice: dict[str, None] = field(default_factory=dict)


def read_batch(file: Path, kind: Kind, *, request_id: str, labels: dict[str, str]) -> Batch:
    """Normalise and check every item on its own; with a request_id item 3 gets `{request_id}-3`.

    Raises:
        CommandError: the file cannot be read or is no JSON array.
    """
    batch = Batch()
    for index, raw in enumerate(_read_array(file)):
        own_request_id = f"{request_id}-{index}" if request_id else ""
        try:
            batch.good[index] = _item(kind, raw, own_request_id, labels)
        except InvalidGeneration as error:
            batch.bad[index] = [f"{wrong.field}: {wrong.description}" for wrong in error.violations]
    return batch


def calls(items: Mapping[int, BatchItem]) -> Iterator[dict[int, BatchItem]]:
    """Items in the portions that one call may carry."""
    portion: dict[int, BatchItem] = {}
    size = 0
    for index, item in items.items():
        if portion and (len(portion) == ITEMS_PER_CALL or size + item.ByteSize() > BYTES_PER_CALL):
            yield portion
            portion, size = {}, 0
        portion[index] = item
        size += item.ByteSize()
    if portion:
        yield portion


def _item(kind: Kind, raw: Any, request_id: str, labels: dict[str, str]) -> BatchItem:
    generation = parse_generation(kind.name, raw)
    item = BatchItem()
    request = getattr(item, kind.field)
    getattr(request, kind.field).CopyFrom(generation)
    request.request_id = request_id
    request.labels.update(labels)
    return item


def _read_array(file: Path) -> list[Any]:
    try:
        # Editors on Windows put a mark in front, which JSON does not know.
        items = json.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise CommandError(ExitCode.USAGE, [f"{file} cannot be read: {error.strerror}"]) from error
    except (ValueError, RecursionError) as error:
        raise CommandError(ExitCode.USAGE, [f"{file} is not JSON: {error}"]) from error
    if not isinstance(items, list):
        raise CommandError(ExitCode.USAGE, [f"{file} must contain a JSON array of messages."])
    return items
