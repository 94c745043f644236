"""Pictures for the emulator: a generated scene per prompt, edits of a given picture, captions.

Everything a picture shows follows from the hash of the prompt, so the same request gives the same picture.
"""

import colorsys
import hashlib
import math
import textwrap
from collections.abc import Sequence
from functools import lru_cache
from io import BytesIO

from PIL import Image, ImageDraw, ImageFont, ImageOps

Size = tuple[int, int]
Colour = tuple[int, int, int]

_SMALLEST_CAPTIONED = 96
_CAPTION_LINES = 5
_GRADES = (
    ((40, 0.80), (10, 0.80), (0, 0.65)),
    ((0, 0.65), (12, 0.78), (44, 0.80)),
    ((30, 0.82), (0, 0.66), (36, 0.72)),
)


def digest_of(prompt: str) -> bytes:
    """Return the 32 bytes that decide colours and shapes."""
    return hashlib.sha256(prompt.encode("utf-8", "replace")).digest()


def open_picture(data: bytes) -> Image.Image:
    """Decode a whole picture as RGB; raise ValueError when the bytes are none."""
    try:
        with Image.open(BytesIO(data)) as picture:
            return picture.convert("RGB")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(str(error)) from error


def encode_png(picture: Image.Image) -> bytes:
    """Return the picture as PNG, compressed lightly because time matters more than size here."""
    buffer = BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def paint_picture(prompt: str, size: Size) -> Image.Image:
    """Return a scene of that size with the prompt readable in it."""
    return add_caption(paint_scene(prompt, size), prompt)


def paint_scene(prompt: str, size: Size) -> Image.Image:
    """Return a landscape: gradient sky, a sun, clouds and rows of hills."""
    digest = digest_of(prompt)
    hue = 0.5 + digest[0] / 255 * 0.45
    sky = Image.linear_gradient("L").resize(size)
    scene = ImageOps.colorize(sky, _hsv(hue, 0.65, 0.45), _hsv(hue + 0.4, 0.45, 0.98))
    draw = ImageDraw.Draw(scene)
    width, height = size
    radius = min(size) * (0.08 + digest[1] / 255 * 0.06)
    x, y = width * (0.2 + digest[2] / 255 * 0.6), height * (0.18 + digest[3] / 255 * 0.2)
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_hsv(hue + 0.5, 0.25, 1.0))
    _draw_clouds(draw, size, digest)
    for layer in range(3):
        _draw_hills(draw, size, digest, layer, _hsv(hue + 0.2 + layer * 0.05, 0.55, 0.62 - layer * 0.17))
    return scene


def edit_picture(source: Image.Image, prompt: str) -> Image.Image:
    """Return the source at its own size, regraded, framed and captioned; its composition stays."""
    digest = digest_of(prompt)
    curves = _GRADES[digest[4] % len(_GRADES)]
    table = [min(255, round(lift + value * gain)) for lift, gain in curves for value in range(256)]
    edited = source.point(table)
    width, height = edited.size
    frame = max(1, min(width, height) // 28)
    colour = _hsv(digest[5] / 255, 0.75, 0.95)
    ImageDraw.Draw(edited).rectangle((0, 0, width - 1, height - 1), outline=colour, width=frame)
    return add_caption(edited, prompt)


def compose_references(sources: Sequence[Image.Image], prompt: str, size: Size) -> Image.Image:
    """Return a new scene of that size that shows the given pictures side by side in it."""
    scene = paint_scene(prompt, size)
    width, height = size
    slot = width // len(sources)
    for index, source in enumerate(sources):
        picture = ImageOps.contain(source, (max(1, int(slot * 0.8)), max(1, int(height * 0.6))))
        framed = ImageOps.expand(picture, border=max(2, min(size) // 100), fill=(250, 248, 240))
        left = index * slot + (slot - framed.width) // 2
        scene.paste(framed, (left, max(0, int(height * 0.4) - framed.height // 2)))
    return add_caption(scene, prompt)


def add_caption(picture: Image.Image, prompt: str) -> Image.Image:
    """Draw the prompt on a panel at the lower edge; pictures too small for text stay as they are."""
    if min(picture.size) < _SMALLEST_CAPTIONED:
        return picture
    panel = caption_panel(prompt, picture.size)
    margin = picture.width // 32
    picture.paste(panel, (margin, picture.height - panel.height - margin), panel)
    return picture


def caption_panel(prompt: str, size: Size) -> Image.Image:
    """Return the half transparent panel, RGBA, that carries the prompt on a picture of that size."""
    width = size[0] - 2 * (size[0] // 32)
    points = max(10, min(size) // 24)
    font = _font(points)
    columns = max(8, int((width - points * 2) / max(1.0, font.getlength("abcdefghij mnop") / 15)))
    text = " ".join(prompt.split()) or "(no prompt)"
    lines = textwrap.wrap(text, columns, max_lines=_CAPTION_LINES, placeholder=" …")
    step = int(points * 1.35)
    panel = Image.new("RGBA", (width, step * len(lines) + points), (12, 14, 24, 228))
    draw = ImageDraw.Draw(panel)
    for row, line in enumerate(lines):
        draw.text((points, points // 2 + row * step), line, font=font, fill=(255, 255, 255, 255))
    return panel


@lru_cache(maxsize=8)
def _font(points: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(points)


def _hsv(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _draw_clouds(draw: ImageDraw.ImageDraw, size: Size, digest: bytes) -> None:
    width, height = size
    unit = min(size) / 22
    for index in range(4):
        x = width * digest[6 + index] / 255
        y = height * (0.08 + digest[10 + index] / 255 * 0.3)
        for puff in (-1.4, -0.5, 0.5, 1.4):
            lift = unit * (0.6 if abs(puff) < 1 else 0.0)
            box = (x + (puff - 1) * unit, y - lift - unit * 0.7, x + (puff + 1) * unit, y + unit * 0.7)
            draw.ellipse(box, fill=(244, 246, 250))


def _draw_hills(draw: ImageDraw.ImageDraw, size: Size, digest: bytes, layer: int, colour: Colour) -> None:
    width, height = size
    base = height * (0.55 + layer * 0.13)
    swing = height * (0.05 + digest[14 + layer] / 255 * 0.05)
    waves = 1 + digest[17 + layer] % 3 + layer
    phase = digest[20 + layer] / 255 * math.tau
    ridge = [(x, base - swing * math.sin(phase + x / width * math.tau * waves)) for x in range(0, width + 16, 16)]
    draw.polygon([(0, height), *ridge, (width + 16, height)], fill=colour)
