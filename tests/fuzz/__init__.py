"""Hostile inputs for every way into the system, counted by how each ended."""
