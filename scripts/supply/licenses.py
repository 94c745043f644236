"""Licenses of packages as SPDX expressions, and what must be known of those that are not permissive."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import PurePath

from license_expression import ExpressionError, get_license_index, get_spdx_licensing

from .lock import Locked

UNKNOWN = "UNKNOWN"
WORDS = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "ISC License": "ISC",
}
"""What packages write in the field License instead of an SPDX expression."""
CLASSIFIERS = {"MIT License": "MIT"}
"""The license of packages that say it by a classifier alone."""
BY_HAND = {"pyasn1-modules": "BSD-2-Clause"}
"""Packages whose metadata names no single license; read in the license file of the package."""
BUNDLED = {
    "libasound-": "LGPL-2.1-or-later",
    "libavcodec-": "LGPL-3.0-or-later",
    "libcrypt-": "LGPL-2.1-or-later",
    "libgmp-": "LGPL-3.0-or-later OR GPL-2.0-or-later",
    "libgnutls-": "LGPL-2.1-or-later",
    "libkeyutils-": "LGPL-2.0-or-later",
    "libmp3lame-": "LGPL-2.0-or-later",
    "libnettle-": "LGPL-3.0-or-later OR GPL-2.0-or-later",
    "libunistring-": "LGPL-3.0-or-later OR GPL-2.0-or-later",
    "libx264-": "GPL-2.0-or-later",
    "libx265-": "GPL-2.0-or-later",
}
"""Libraries that wheels bring along under a license which their metadata does not name."""
ACCEPTED = {
    "av": "FFmpeg and its codecs, unchanged, as shared libraries. Who passes the image on offers their source too.",
    "certifi": "A list of certificates, unchanged.",
    "orjson": "Unchanged.",
    "psycopg": "Unchanged, and can be replaced.",
    "psycopg-binary": "Unchanged, and can be replaced.",
    "psycopg-pool": "Unchanged, and can be replaced.",
}
"""Why each package with a license that is not permissive may be in the image."""
SPDX = get_spdx_licensing()
PERMISSIVE = {
    each["spdx_license_key"]
    for each in get_license_index()
    if each.get("category") in {"Permissive", "Public Domain"} and each.get("spdx_license_key")
}


@dataclass(frozen=True)
class Licensed:
    """A package and its license."""

    name: str
    version: str
    license: str
    """An SPDX expression, or UNKNOWN."""
    bundled: tuple[str, ...]
    """Other licenses of libraries in the wheel."""

    @property
    def permissive(self) -> bool:
        """Whether it asks for no more than a notice. Of `A OR B` it is enough that one is so."""
        return self.license != UNKNOWN and not self.bundled and _permissive(self.license)

    @property
    def accepted(self) -> str:
        """Why it may be in the image though it is not permissive; "" where nobody said so."""
        return ACCEPTED.get(self.name, "") if self.license != UNKNOWN else ""


def licensed(package: Locked) -> Licensed:
    """The license of a package, read from the installed one, which must have the locked version."""
    try:
        installed = distribution(package.name)
    except PackageNotFoundError:
        return Licensed(package.name, package.version, UNKNOWN, ())
    if installed.version != package.version:
        return Licensed(package.name, package.version, UNKNOWN, ())
    return Licensed(package.name, package.version, _license(package.name, installed), _bundled(installed))


def _license(name: str, installed: Distribution) -> str:
    metadata = installed.metadata
    # An old classifier says less than the text beside it.
    classifiers = [each.split(" :: ")[-1] for each in metadata.get_all("Classifier") or []]
    candidates = [
        BY_HAND.get(name, ""),
        metadata["License-Expression"] or "",
        metadata["License"] or "",
        *(CLASSIFIERS.get(each, "") for each in classifiers),
    ]
    for candidate in candidates:
        expression = WORDS.get(candidate, candidate)
        if expression and _known(expression):
            return expression
    return UNKNOWN


def _known(expression: str) -> bool:
    try:
        SPDX.parse(expression, validate=True, strict=True)
    except ExpressionError:
        return False
    return True


def _permissive(expression: str) -> bool:
    parsed = SPDX.parse(expression)
    if hasattr(parsed, "key"):
        return str(parsed.key) in PERMISSIVE
    parts = [_permissive(str(each)) for each in parsed.args]
    return any(parts) if parsed.operator.strip() == "OR" else all(parts)


def _bundled(installed: Distribution) -> tuple[str, ...]:
    names = [PurePath(file).name for file in installed.files or []]
    return tuple(sorted({spdx for start, spdx in BUNDLED.items() if any(name.startswith(start) for name in names)}))
