"""Provider texts as they may be shown: no key, no internal address, no endless page."""

from __future__ import annotations

import re

LONGEST = 500

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
    """The text without credentials: `secret`, and what has the form of a key or a token."""
    return _SECRETS.sub("[key]", text.replace(secret, "[key]") if secret else text)


def presentable(text: str, *, secret: str = "") -> str:
    """The text on one line, without credentials and internal addresses, at most `LONGEST` characters."""
    shown = _ADDRESSES.sub("[address]", without_secrets(text[: 4 * LONGEST], secret=secret))
    shown = " ".join("".join(character if character.isprintable() else " " for character in shown).split())
    return shown if len(shown) <= LONGEST else shown[: LONGEST - 1] + "…"


def support_codes(text: str) -> tuple[str, ...]:
    """The eight-digit support codes that a refusal of Google's ends with."""
    return tuple(dict.fromkeys(_SUPPORT_CODES.findall(text)))


def categories(codes: tuple[str, ...]) -> str:
    """What the support codes stand for, such as "celebrity, violence"; unknown ones are "other"."""
    return ", ".join(dict.fromkeys(_CATEGORY_BY_CODE.get(code, "other") for code in codes))
