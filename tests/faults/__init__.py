"""The fault matrix: `make faults` breaks one thing a row and counts what became of each job and payment."""
