"""Compile the ``.proto`` files: ``python tools/build_protos.py [TARGET]``."""

from __future__ import annotations

import importlib.resources
import sys
from pathlib import Path

PROTOS = Path(__file__).parent.parent / "src/headrace/receiver/protos"
COMPILED = "protocols.binpb"


def build(target: Path) -> None:
    """Write the descriptor set that ``receiver.codecs.protobuf`` loads; wants grpcio-tools."""
    from grpc_tools import protoc  # noqa: PLC0415 - a development dependency

    well_known = importlib.resources.files("grpc_tools") / "_proto"
    sources = [str(path) for path in sorted(PROTOS.glob("*.proto"))]
    command = ["protoc", f"-I{PROTOS}", f"-I{well_known}", f"--descriptor_set_out={target}"]
    status = protoc.main([*command, "--include_imports", *sources])
    if status:
        raise SystemExit(status)


if __name__ == "__main__":
    build(Path(sys.argv[1]) if len(sys.argv) > 1 else PROTOS / COMPILED)
