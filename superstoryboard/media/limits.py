"""How large media may be, and how much one decode may cost; beyond them a file is refused with the reason."""

from __future__ import annotations

MAX_PIXELS = 8192 * 8192
"""Width times height of an image, read from its header before anything is decoded."""
MAX_VIDEO_PIXELS = 4096 * 4096
"""Width times height of a video."""
MAX_BOXES = 20_000
MAX_BOX_DEPTH = 12
"""Of an MP4: a film of ours has some hundred boxes, nested six deep; one in fragments has some for each second."""
MAX_MOOV_BYTES = 64 * 1024 * 1024
"""Of an MP4's description of itself."""
MAX_SAMPLES = 1_000_000
"""Entries of a table of an MP4: frames of four hours, or sound of six."""
MEMORY_BYTES = 160 * 1024 * 1024
"""Address space that one decode may add to the decoding process (RLIMIT_AS; macOS does not hold to it).

A PNG or a baseline JPEG of `MAX_PIXELS` needs next to nothing, since it is never held whole. A progressive JPEG needs
3 to 6 bytes a pixel, a WebP 2 (lossy) or 5 (lossless): about 27 million pixels always fit.
"""
CPU_SECONDS = 20
"""Processor time of one decode (RLIMIT_CPU)."""
WALL_SECONDS = 120.0
"""Longest wait for one decode: what takes longer is stopped and repeated, since the machine is to blame."""
IDLE_SECONDS = 30.0
"""A decoding process that has nothing to do for so long ends."""
MAX_STARTS = 3
"""Times that a decode is started, where the process was killed from outside or the machine was too slow."""
