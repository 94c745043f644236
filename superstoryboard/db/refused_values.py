"""Tells a value that the database refuses from a fault of ours."""

from __future__ import annotations

import psycopg

REFUSED = ("22", "54")
"""Classes of SQLSTATE that speak of a value: wrong in its kind, or too large or deep."""


def refuses_a_value(error: Exception) -> bool:
    """True where the database answers that a value of the statement cannot be kept."""
    return isinstance(error, psycopg.Error) and (error.sqlstate or "")[:2] in REFUSED
