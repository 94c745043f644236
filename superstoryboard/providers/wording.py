"""Provider texts as they may be shown: no key, no prompt, no internal address, no endless page."""

from __future__ import annotations

import html
import json
import re
from contextvars import ContextVar
from dataclasses import dataclass
from urllib.parse import unquote

LONGEST = 500
SHORTEST_PIECE = 24
"""Letters and digits in a row by which a part of a prompt is found, whatever stands between them."""
SHORTEST_LETTERS = 8
"""A prompt of fewer letters and digits is found only as it is, on one line and in JSON."""
SHORTEST_PROMPT = 4
"""A shorter one is part of too many other words."""


@dataclass(frozen=True)
class _Hidden:
    """A prompt: its forms, and every piece of `size` of its letters and digits."""

    forms: tuple[str, ...] = ()
    pieces: frozenset[str] = frozenset()
    size: int = 0


_prompt: ContextVar[_Hidden] = ContextVar("prompt", default=_Hidden())  # noqa: B039 - frozen

_LETTERS = re.compile(
    r"\\+(?:[ux]([0-9a-fA-F]{4}|[0-9a-fA-F]{2})|[nrtbf])"  # in JSON, also twice, or as Python shows it
    r"|(&#?\w{1,8};)"  # in HTML
    r"|((?:%[0-9a-fA-F]{2})+)"  # in a URL
    r"|([^\W_]+)"
)

_SECRETS = re.compile(
    r"AIza[0-9A-Za-z_-]{10,}"
    r"|(?<=api_key:)[^\s'\"<>&]+"
    r"|(?<=key=)[^\s'\"<>&]+"
    r"|(?<=[Bb]earer )[^\s'\"<>&]+"
    r"|\b(?:ya29|AQ)\.[0-9A-Za-z_.-]{10,}"
)
_ADDRESSES = re.compile(
    r"http://\S+"
    r"|\b(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?\b"
    r"|\blocalhost(?::\d+)?\b"
    r"|\b[a-z0-9.-]{1,100}\.(?:svc|local|internal)\b[^\s]*"
    r"|\[[0-9a-f:]*:[0-9a-f:]*\](?::\d+)?",
    re.IGNORECASE,
)
_SUPPORT_CODES = re.compile(r"\b\d{8}\b")

_CATEGORIES = {
    "child": ("58061214", "17301594"),
    "celebrity": ("29310472", "15236754"),
    "video safety": ("64151117", "42237218"),
    "dangerous": ("62263041",),
    "hate": ("57734940", "22137204"),
    "prohibited": ("89371032", "49114662", "63429089", "72817394", "60599140"),
    "third-party content": ("35561574", "35561575"),
    "sexual": ("90789179", "43188360"),
    "toxic": ("78610348",),
    "violence": ("61493863", "56562880"),
    "vulgar": ("32635315",),
    "person or face": ("39322892",),
    "personal information": ("92201652",),
}
_CATEGORY_BY_CODE = {code: category for category, codes in _CATEGORIES.items() for code in codes}


def without_secrets(text: str, *, secret: str = "") -> str:
    """The text without credentials: `secret`, and what has the form of a key or a token; without the prompt, too."""
    hidden = _without_prompt(text)
    return _SECRETS.sub("[key]", hidden.replace(secret, "[key]") if secret else hidden)


def hide_prompt(prompt: str) -> None:
    """From now on in this task, and in those that it starts, no text of a provider is shown with this prompt."""
    in_json = (json.dumps(prompt, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False))
    forms = dict.fromkeys((prompt, _on_one_line(prompt), *in_json))
    letters = "".join(letter for letter, _, _ in _letters(prompt))
    size = min(SHORTEST_PIECE, len(letters))
    starts = range(len(letters) - size + 1) if size >= SHORTEST_LETTERS else ()
    pieces = frozenset(letters[at : at + size] for at in starts)
    _prompt.set(_Hidden(tuple(form for form in forms if len(form) >= SHORTEST_PROMPT), pieces, size))


def presentable(text: str, *, secret: str = "") -> str:
    """The text on one line, without credentials, internal addresses and the prompt, at most `LONGEST` characters."""
    shown = _ADDRESSES.sub("[address]", without_secrets(_on_one_line(text[: 4 * LONGEST]), secret=secret))
    return shown if len(shown) <= LONGEST else shown[: LONGEST - 1] + "…"


def _on_one_line(text: str) -> str:
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


def _without_prompt(text: str) -> str:
    """The text without the prompt that is hidden, and without parts of it, however they are escaped."""
    hidden = _prompt.get()
    for form in hidden.forms:
        text = text.replace(form, "[prompt]")
    if not hidden.pieces:
        return text
    places = _letters(text)
    letters = "".join(letter for letter, _, _ in places)
    shown, done, at = "", 0, 0
    while at + hidden.size <= len(letters):
        end = at
        while end + hidden.size <= len(letters) and letters[end : end + hidden.size] in hidden.pieces:
            end += 1
        if end == at:
            at += 1
            continue
        last = end + hidden.size - 2
        shown += f"{text[done : places[at][1]]}[prompt]"
        done, at = places[last][2], last + 1
    return shown + text[done:]


def _letters(text: str) -> list[tuple[str, int, int]]:
    """Letters and digits of a text, each with where it begins and ends there."""
    places: list[tuple[str, int, int]] = []
    for match in _LETTERS.finditer(text):
        code, entity, escaped, word = match.groups()
        if word is not None:
            places += [(letter, at, at + 1) for at, letter in enumerate(word, match.start())]
            continue
        meant = html.unescape(entity) if entity else unquote(escaped) if escaped else chr(int(code or "0", 16))
        places += [(letter, *match.span()) for letter in meant if letter.isalnum()]
    return places


def support_codes(text: str) -> tuple[str, ...]:
    """The eight-digit support codes that a refusal of Google's ends with."""
    return tuple(dict.fromkeys(_SUPPORT_CODES.findall(text)))


def categories(codes: tuple[str, ...]) -> str:
    """What the support codes stand for, such as "celebrity, violence"; unknown ones are "other"."""
    return ", ".join(dict.fromkeys(_CATEGORY_BY_CODE.get(code, "other") for code in codes))
