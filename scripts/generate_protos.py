"""Generate superstoryboard/v1 and proto/descriptors.binpb from proto/, and the descriptor set that buf reads.

The protovalidate package carries the descriptor of buf/validate/validate.proto, so no copy of that file is needed.
"""

from __future__ import annotations

import argparse
import filecmp
import shutil
import sys
import tempfile
from pathlib import Path

from google.protobuf import (
    descriptor_pb2,
    duration_pb2,
    field_mask_pb2,
    timestamp_pb2,
)
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.rpc import status_pb2
from grpc_tools import protoc
from protovalidate._gen.buf.validate import validate_pb

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
PACKAGE = "superstoryboard/v1"
VALIDATE = "buf/validate/validate.proto"
RULES_IMPORT = "from superstoryboard.v1 import validate_pb2"
DESCRIPTORS = Path("proto/descriptors.binpb")
"""All messages and services with everything they import, so that clients in any language need no other file."""
VALIDATE_MODULE = '''"""The rules that constraints are written in.

A process can register buf/validate/validate.proto once: an installed package `buf` goes before our copy.
"""

try:
    from buf.validate.validate_pb2 import *
except ImportError:
    from superstoryboard.v1.validate_copy_pb2 import *
'''


def write_imports(path: Path) -> None:
    """Write the descriptors that our protos import."""
    from google.protobuf import any_pb2  # noqa: PLC0415 - status.proto imports it

    files = FileDescriptorSet()
    for module in (descriptor_pb2, duration_pb2, timestamp_pb2, field_mask_pb2, any_pb2, status_pb2):
        files.file.append(FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb))
    files.file.append(FileDescriptorProto.FromString(validate_pb.desc().proto.to_binary()))
    path.write_bytes(files.SerializeToString())


def run_protoc(*arguments: str) -> None:
    """Run protoc, or stop the program with its exit code."""
    code = protoc.main(["protoc", *arguments])
    if code:
        sys.exit(code)


def generate(target: Path) -> None:
    """Write all generated modules below target."""
    imports = target / "imports.binpb"
    write_imports(imports)
    sources = sorted(str(path.relative_to(PROTO)) for path in (PROTO / PACKAGE).glob("*.proto"))
    inputs = (f"--descriptor_set_in={imports}", f"-I{PROTO}")
    outputs = (f"--python_out={target}", f"--pyi_out={target}", f"--grpc_python_out={target}")
    services = [source for source in sources if source.endswith("_service.proto")]
    run_protoc(*inputs, *outputs[:2], *sources)
    run_protoc(*inputs, outputs[2], f"--mypy_grpc_out={target}", *services)
    soften(target / PACKAGE)
    run_protoc(f"--descriptor_set_in={imports}", f"--python_out={target}", f"--mypy_out={target}", VALIDATE)
    imports.unlink()
    adopt_rules(target)
    (target / DESCRIPTORS).parent.mkdir()
    describe(target / DESCRIPTORS)
    (target / PACKAGE / "__init__.py").write_text('"""Generated from proto/; `make proto` renews it."""\n')


def adopt_rules(target: Path) -> None:
    """Move buf.validate under our name, so that we install no package `buf` beside somebody else's."""
    folder = target / PACKAGE
    generated = target / "buf" / "validate"
    generated.joinpath("validate_pb2.py").rename(folder / "validate_copy_pb2.py")
    generated.joinpath("validate_pb2.pyi").rename(folder / "validate_pb2.pyi")
    (folder / "validate_pb2.py").write_text(VALIDATE_MODULE)
    shutil.rmtree(target / "buf")
    for module in folder.glob("*_pb2.py*"):
        module.write_text(module.read_text().replace("from buf.validate import validate_pb2", RULES_IMPORT))


def soften(folder: Path) -> None:
    """Servicers may leave RPCs out: at run time the generated base answers UNIMPLEMENTED, so it is not abstract."""
    for stub in folder.glob("*_pb2_grpc.pyi"):
        lines = stub.read_text().splitlines(keepends=True)
        stub.write_text("".join(line for line in lines if "abstractmethod" not in line))


def describe(target: Path, *options: str) -> None:
    """Write a descriptor set that stands alone; with --include_source_info comments and lines as well."""
    with tempfile.TemporaryDirectory() as folder:
        imports = Path(folder) / "imports.binpb"
        write_imports(imports)
        sources = sorted(str(path.relative_to(PROTO)) for path in (PROTO / PACKAGE).glob("*.proto"))
        run_protoc(
            f"--descriptor_set_in={imports}",
            f"-I{PROTO}",
            "--include_imports",
            *options,
            f"--descriptor_set_out={target}",
            *sources,
        )


def drift(fresh: Path) -> list[str]:
    """Name the generated files that differ from the committed ones."""
    generated = sorted(path.relative_to(fresh) for path in fresh.rglob("*") if path.is_file())
    return [
        str(name)
        for name in generated
        if not (ROOT / name).exists() or not filecmp.cmp(fresh / name, ROOT / name, shallow=False)
    ]


def main() -> None:
    """Generate into the tree, or with --check report drift and exit 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--descriptor-set", type=Path)
    options = parser.parse_args()
    if options.descriptor_set:
        describe(options.descriptor_set, "--include_source_info")
        return
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(fresh)
        if options.check:
            stale = drift(fresh)
            if stale:
                sys.exit(f"generated code is stale, run `make proto`: {', '.join(stale)}")
            return
        for path in filter(Path.is_file, fresh.rglob("*")):
            destination = ROOT / path.relative_to(fresh)
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, destination)


if __name__ == "__main__":
    main()
