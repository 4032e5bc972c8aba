from __future__ import annotations

import gzip
import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.engine.checks.kind import HEAD_BYTES, mistaken
from tests.contract.bad_models.wrong import HTML, LFS, archive

SUFFIXES = (".onnx", ".xml", ".tflite", ".pb", ".pt2", ".py", ".fake")


@pytest.mark.parametrize(
    ("head", "suffix", "words"),
    [
        (b"", ".onnx", "is empty"),
        (LFS, ".onnx", "a Git LFS pointer to a file of 102400000 bytes.*git lfs pull"),
        (LFS, ".py", "a Git LFS pointer"),
        (LFS[:60], ".onnx", "a Git LFS pointer to a file, not"),
        (HTML, ".xml", r"a web page \(HTML\)"),
        (b"\n  <HTML>", ".onnx", r"a web page \(HTML\)"),
        (bytes(HEAD_BYTES), ".tflite", "begins with zeros"),
        (archive(a=b"1"), ".onnx", "a zip archive: unpack it"),
        (gzip.compress(b"x", mtime=0), ".onnx", "gzip: unpack it"),
        (pickle.dumps({}), ".pt2", "a pickle"),
        (b"\x1c\0\0\0TFL3", ".onnx", "TFLite: call it"),
        (b"<?xml version", ".onnx", r"XML; OpenVINO's is called model\.xml"),
        (b"\x89HDF\r\n\x1a\n", ".onnx", "Keras"),
        (b"Entry not found", ".onnx", "is text, which begins with 'Entry not found'"),
        (b'{"error": "none"}', ".tflite", "is text"),
    ],
)
def test_what_is_no_model_is_named(head: bytes, suffix: str, words: str) -> None:
    assert re.search(words, mistaken(head, suffix) or "", re.DOTALL)


@pytest.mark.parametrize(
    ("head", "suffix"),
    [
        (b"\x08\x09\x12\x07pytorch\x1a", ".onnx"),
        (b"\x08\x01\x12\x10\x0a\x0e", ".pb"),
        (b"{\0\0\0TFL3", ".tflite"),
        (archive(a=b"1"), ".pt2"),
        (b'<?xml version="1.0"?>', ".xml"),
        (b"<net name=", ".xml"),
        (b"import numpy as np", ".py"),
        (b"", ".py"),
        (b"", ".fake"),
        (b"\x0b\x0a\x09 plain bytes", ".onnx"),
    ],
)
def test_what_may_be_a_model_is_let_through(head: bytes, suffix: str) -> None:
    assert mistaken(head, suffix) is None


@given(st.binary(max_size=HEAD_BYTES), st.sampled_from(SUFFIXES))
def test_of_any_bytes_something_is_said_or_nothing(head: bytes, suffix: str) -> None:
    said = mistaken(head, suffix)
    assert said is None or said.isprintable()
