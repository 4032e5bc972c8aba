from __future__ import annotations

import re
from pathlib import Path

import pytest

from headrace.engine.checks.beside import Claim, check
from headrace.errors import ModelLoadError
from tests.contract.bad_models.wrong import LFS


def _claim(location: str, size_bytes: int = 64, offset: int = 0) -> Claim:
    return Claim("w", location, offset, size_bytes)


def test_what_is_claimed_and_there_passes(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "w.bin").write_bytes(bytes(64))
    check(tmp_path / "m.onnx", [_claim("inner/w.bin"), _claim("inner/w.bin", 4, 60)])
    check(tmp_path / "m.onnx", [])


def test_a_link_to_where_the_model_itself_lies_is_followed(tmp_path: Path) -> None:
    """As in the cache of Hugging Face, where both are links into a folder of blobs."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir()
    snapshot.mkdir()
    for name in ("model.onnx", "w.bin"):
        (blobs / f"of-{name}").write_bytes(bytes(64))
        (snapshot / name).symlink_to(blobs / f"of-{name}")
    check(snapshot / "model.onnx", [_claim("w.bin")])
    (snapshot / "model.onnx").unlink()
    (snapshot / "model.onnx").write_bytes(bytes(64))
    with pytest.raises(ModelLoadError, match="a link that leads outside"):
        check(snapshot / "model.onnx", [_claim("w.bin")])


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("", "is no file"),
        ("a\0b", "is no file"),
        ("*/_ORT_MEM_ADDR_/*", "is no file"),
        ("/etc/passwd", "outside the folder of the model"),
        ("../w.bin", "outside the folder of the model"),
        ("a/../../w.bin", "outside the folder of the model"),
        ("nobody.bin", "which is missing"),
        (".", "not a regular file"),
        ("short.bin", "up to byte 64 of 'short.bin', which has 3 bytes: it was not copied whole"),
        ("pointer.bin", "it is a Git LFS pointer"),
        ("ring.bin", "which cannot be read"),
        ("x" * 300, "which cannot be read"),
    ],
)
def test_what_cannot_be_read_is_named(location: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "short.bin").write_bytes(b"abc")
    (tmp_path / "pointer.bin").write_bytes(LFS)
    (tmp_path / "ring.bin").symlink_to("ring.bin")
    with pytest.raises(ModelLoadError, match=re.escape(words)):
        check(tmp_path / "m.onnx", [_claim(location, 200 if "pointer" in location else 64)])
