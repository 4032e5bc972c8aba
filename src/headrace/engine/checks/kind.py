"""What a file really is, by how it begins: pure.

People put a page for signing in, an archive, or a pointer of Git LFS where a model should be. A
library says of all of these that it cannot parse them.
"""

from __future__ import annotations

import re

HEAD_BYTES = 512
"""So much of a file's beginning is looked at."""

_LFS = b"version https://git-lfs.github.com/spec/v1"
_LFS_SIZE = re.compile(rb"^size (\d{1,19})$", re.MULTILINE)
_PAGE = re.compile(rb"\s*<(?:!doctype\s+html|html)", re.IGNORECASE)
# Less text than this may be an accident.
_SHORTEST_TEXT = 12
_SHOWN = 40

# Where in the file, the bytes there, what that is, and what to do.
_MAGIC = (
    (0, b"PK\x03\x04", "zip", "a zip archive: unpack it"),
    (0, b"PK\x05\x06", "zip", "an empty zip archive"),
    (0, b"\x1f\x8b", "gzip", "compressed with gzip: unpack it"),
    (0, b"\x28\xb5\x2f\xfd", "zstd", "compressed with zstd: unpack it"),
    (0, b"\xfd7zXZ\0", "xz", "compressed with xz: unpack it"),
    (0, b"BZh", "bzip2", "compressed with bzip2: unpack it"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z", "a 7z archive: unpack it"),
    (257, b"ustar", "tar", "a tar archive: unpack it"),
    (4, b"TFL3", "tflite", "TFLite: call it model.tflite"),
    (0, b"<?xml", "xml", "XML; OpenVINO's is called model.xml"),
    (0, b"<net", "xml", "XML; OpenVINO's is called model.xml"),
    (0, b"GGUF", "gguf", "GGUF, which is not served here"),
    (0, b"\x89HDF\r\n", "hdf5", "HDF5 (Keras's .h5): export it as a SavedModel or ONNX"),
    (0, b"\x7fELF", "elf", "a program or a shared library"),
    (0, b"\x89PNG", "png", "a picture (PNG)"),
    (0, b"%PDF", "pdf", "a document (PDF)"),
    (0, b"\x80\x02", "pickle", "a pickle, which is not read: export the model"),
    (0, b"\x80\x03", "pickle", "a pickle, which is not read: export the model"),
    (0, b"\x80\x04", "pickle", "a pickle, which is not read: export the model"),
    (0, b"\x80\x05", "pickle", "a pickle, which is not read: export the model"),
    (8, b'{"', "safetensors", "safetensors, which has no graph: export the model"),
)
_OWN = {
    ".pt": {"zip", "pickle"},
    ".pt2": {"zip"},
    ".tflite": {"tflite"},
    ".xml": {"xml"},
}
_OF_TEXT = frozenset({".py", ".fake"})


def mistaken(head: bytes, suffix: str) -> str | None:
    """Say what a file of this ending is instead of a model; None: it may be one.

    ``head`` is how it begins: ``HEAD_BYTES`` of it, or all.
    """
    if not head and suffix not in _OF_TEXT:
        return "is empty: it has not been written yet, or its download has failed"
    instead = _instead(head)
    if instead is not None or suffix in _OF_TEXT:
        return instead
    for at, magic, kind, words in _MAGIC:
        if head[at : at + len(magic)] == magic and kind not in _OWN.get(suffix, ()):
            return f"is {words}"
    return _text(head) if suffix != ".xml" else None


def _instead(head: bytes) -> str | None:
    """Name what comes in place of files of any kind."""
    if head.startswith(_LFS):
        size = _LFS_SIZE.search(head)
        of = f" of {size.group(1).decode()} bytes" if size else ""
        return (
            f"is a Git LFS pointer to a file{of}, not the file itself: run `git lfs pull` where it "
            "was cloned"
        )
    if _PAGE.match(head):
        return "is a web page (HTML), not a model: a download asked to sign in, or has failed"
    if len(head) == HEAD_BYTES and not any(head):
        return "begins with zeros: it has not been written yet, or its download was cut off"
    return None


def _text(head: bytes) -> str | None:
    """Name text, as servers send it in place of a file: no model begins with so much of it."""
    first = head[: 2 * _SHOWN].strip()
    if len(first) < _SHORTEST_TEXT or not first.isascii():
        return None
    text = first.decode()
    if not all(letter.isprintable() or letter in "\r\n\t" for letter in text):
        return None
    return f"is text, which begins with {text[:_SHOWN]!r}"
