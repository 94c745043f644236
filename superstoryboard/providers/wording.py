"""Provider texts as they may be shown: no key, no prompt, no internal address, no endless page."""

from __future__ import annotations

import json
import re
from contextvars import ContextVar
from itertools import takewhile

LONGEST = 500
SHORTEST_PIECE = 24
"""Characters from its beginning by which a prompt is found that was cut off."""
SHORTEST_PROMPT = 4
"""A shorter one is part of too many other words."""

_prompt: ContextVar[tuple[str, ...]] = ContextVar("prompt", default=())
"""As it is, and as it stands on one line and in JSON."""

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
    _prompt.set(tuple(form for form in forms if len(form) >= SHORTEST_PROMPT))


def presentable(text: str, *, secret: str = "") -> str:
    """The text on one line, without credentials, internal addresses and the prompt, at most `LONGEST` characters."""
    shown = _ADDRESSES.sub("[address]", without_secrets(_on_one_line(text[: 4 * LONGEST]), secret=secret))
    return shown if len(shown) <= LONGEST else shown[: LONGEST - 1] + "…"


def _on_one_line(text: str) -> str:
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


def _without_prompt(text: str) -> str:
    """The text without the prompt that is hidden, also where only its beginning is repeated."""
    forms = _prompt.get()
    shown, rest = "", text
    for form in forms:
        rest = rest.replace(form, "[prompt]")
    while places := [at for form in forms if (at := rest.find(form[:SHORTEST_PIECE])) >= 0]:
        shown += f"{rest[: min(places)]}[prompt]"
        rest = rest[min(places) :]
        rest = rest[max(_shared(rest, form) for form in forms) :]
    return shown + rest


def _shared(one: str, other: str) -> int:
    """How many characters both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def support_codes(text: str) -> tuple[str, ...]:
    """The eight-digit support codes that a refusal of Google's ends with."""
    return tuple(dict.fromkeys(_SUPPORT_CODES.findall(text)))


def categories(codes: tuple[str, ...]) -> str:
    """What the support codes stand for, such as "celebrity, violence"; unknown ones are "other"."""
    return ", ".join(dict.fromkeys(_CATEGORY_BY_CODE.get(code, "other") for code in codes))
