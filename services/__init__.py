"""The services: one package for each process."""

import os

# gRPC's core reads it once, when it is first imported, and would write a line of its own for each failed handshake.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
