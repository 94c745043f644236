"""The page that shows what the demo made: one file, pictures and videos inside, nothing loaded from anywhere."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

STYLE = Path(__file__).with_name("gallery.css")
POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"


@dataclass(frozen=True, kw_only=True)
class Card:
    """One asset, or with no data one refusal."""

    name: str
    mode: str
    prompt: str
    details: str
    media_type: str = ""
    data: bytes = b""


@dataclass(frozen=True, kw_only=True)
class Page:
    """What the page says."""

    title: str
    logline: str
    facts: Sequence[str]
    sections: Sequence[tuple[str, Sequence[Card]]]


def render(page: Page) -> str:
    """The page as HTML; every text is escaped."""
    facts = "".join(f"<li>{escape(fact)}</li>" for fact in page.facts)
    sections = "".join(_section(title, cards) for title, cards in page.sections if cards)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{escape(page.title)}</title>
<style>
{STYLE.read_text()}</style>
</head>
<body>
<header>
<h1>{escape(page.title)}</h1>
<p>{escape(page.logline)}</p>
<ul class="facts">{facts}</ul>
</header>
<main>
{sections}</main>
<footer>Made by the SuperStoryboard pipeline. This page is complete in itself.</footer>
</body>
</html>
"""


def _section(title: str, cards: Iterable[Card]) -> str:
    figures = "".join(_figure(card) for card in cards)
    return f'<section>\n<h2>{escape(title)}</h2>\n<div class="grid">\n{figures}</div>\n</section>\n'


def _figure(card: Card) -> str:
    frame = "figure" if card.data else 'figure class="refused"'
    return (
        f"<{frame}>{_media(card)}<figcaption>"
        f'<span class="mode">{escape(card.mode)}</span><h3>{escape(card.name)}</h3>'
        f"<blockquote>{escape(card.prompt)}</blockquote>"
        f'<p class="small">{escape(card.details)}</p></figcaption></figure>\n'
    )


def _media(card: Card) -> str:
    if not card.data:
        return ""
    source = f"data:{escape(card.media_type)};base64,{base64.b64encode(card.data).decode()}"
    if card.media_type.startswith("video/"):
        return f'<video controls loop playsinline preload="metadata" src="{source}"></video>'
    return f'<img alt="{escape(card.prompt)}" src="{source}">'
