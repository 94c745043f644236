"""The rules that constraints are written in.

A process can register buf/validate/validate.proto once: an installed package `buf` goes before our copy.
"""

try:
    from buf.validate.validate_pb2 import *
except ImportError:
    from superstoryboard.v1.validate_copy_pb2 import *
