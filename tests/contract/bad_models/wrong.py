"""What is no model at all, under a model's name: pages, archives, folders, pipes, links."""

from __future__ import annotations

import gzip
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

from tests.contract.bad_models.case import Case, holding

HTML = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Please</body></html>\n"
LFS = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
    b"size 102400000\n"
)
JSON = b'{"error": "Repository not found"}\n'
SUFFIXES = ("onnx", "xml", "tflite", "pt2")


def archive(**files: bytes) -> bytes:
    """A zip of these files."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as inside:
        for name, content in files.items():
            inside.writestr(name, content)
    return made.getvalue()


def _folder(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).mkdir()


def _pipe(name: str) -> Callable[[Path], object]:
    return lambda folder: os.mkfifo(folder / name)


def _link(name: str, target: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).symlink_to(target)


def _locked(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(HTML)
    (folder / "model.onnx").chmod(0)


def _each(what: str, words: str, content: bytes) -> tuple[Case, ...]:
    return tuple(
        Case(f"{what}-as-{suffix}", words, holding(f"model.{suffix}", content))
        for suffix in SUFFIXES
    )


CASES: tuple[Case, ...] = (
    *_each("empty", "is empty", b""),
    *_each("page", "HTML", HTML),
    *_each("pointer", "Git LFS pointer to a file of 102400000 bytes", LFS),
    Case("json-as-onnx", "is text", holding("model.onnx", JSON)),
    Case("zip-as-onnx", "zip archive", holding("model.onnx", archive(a=b"1"))),
    Case("gzip-as-onnx", "gzip", holding("model.onnx", gzip.compress(bytes(100)))),
    Case("zip-as-tflite", "zip archive", holding("model.tflite", archive(a=b"1"))),
    Case("pickle-as-pt2", "pickle", holding("model.pt2", b"\x80\x02}q\x00.")),
    Case("gguf-as-onnx", "GGUF", holding("model.onnx", b"GGUF\x03\0\0\0" + bytes(64))),
    Case("folder-as-onnx", "no model file", _folder("model.onnx")),
    Case("pipe-as-onnx", "not a regular file", _pipe("model.onnx")),
    Case("pipe-as-xml", "not a regular file", _pipe("model.xml")),
    Case("link-to-nothing", "No such file", _link("model.onnx", "nowhere")),
    Case("link-to-itself", "symbolic links", _link("model.onnx", "model.onnx")),
    Case("link-to-a-device", "not a regular file", _link("model.onnx", "/dev/zero")),
    Case("nothing", "no model file", lambda folder: folder),
    # The superuser may read everything.
    *((Case("locked", "Permission denied", _locked),) if os.geteuid() else ()),
)
