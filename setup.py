"""What the wheel holds: everything but the command line lies under the name of the distribution.

In a checkout services and devstack are folders of the top level, and `python -m services.ingest` runs one. Installed,
the same files are `superstoryboard.services` and `superstoryboard.devstack`: site-packages has no room for such names.
"""

from __future__ import annotations

from setuptools import find_packages, setup

MOVED = ("services", "devstack")
PATTERNS = [pattern for name in MOVED for pattern in (name, f"{name}.*")]
DATA = {
    "migrations": ["*.sql"],
    "proto": ["descriptors.binpb", "superstoryboard/v1/*.proto"],
    "examples": ["demo-storyboard.json"],
}


def installed(name: str) -> str:
    """The name of a folder of the checkout once it is installed."""
    return f"superstoryboard.{name}"


setup(
    packages=[
        *find_packages(include=["superstoryboard", "superstoryboard.*", "storyboard", "storyboard.*"]),
        *(installed(name) for name in find_packages(include=PATTERNS)),
        *(installed(name) for name in DATA),
    ],
    package_dir={installed(name): name for name in (*MOVED, *DATA)},
    include_package_data=False,
    package_data={
        "": ["*.css", "*.pyi", "*.sql", "*.toml", "py.typed"],
        **{installed(name): patterns for name, patterns in DATA.items()},
    },
)
