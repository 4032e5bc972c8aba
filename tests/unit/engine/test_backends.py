"""Which backends are tried for a file, and what is said when none will have it."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.engine import backends
from headrace.errors import BackendMissing, ModelLoadError
from headrace.settings import BackendName, ModelSettings


def test_every_backend_but_auto_has_its_row() -> None:
    assert set(backends._MODULES) == set(BackendName) - {BackendName.AUTO}


@pytest.mark.parametrize("name", [name for name in BackendName if name is not BackendName.AUTO])
def test_a_backend_that_is_asked_for_is_the_only_one_tried(name: BackendName) -> None:
    for file in ("m.onnx", "m.xml", "m.fake"):
        assert backends.candidates(Path(file), name) == (name,)


def test_files_of_one_backend_are_left_to_it() -> None:
    assert backends.candidates(Path("m.fake"), BackendName.AUTO) == (BackendName.FAKE,)
    assert backends.candidates(Path("m.xml"), BackendName.AUTO) == (BackendName.OPENVINO,)
    assert set(backends.candidates(Path("m.onnx"), BackendName.AUTO)) == {
        BackendName.OPENVINO,
        BackendName.ONNXRUNTIME,
    }


def test_a_library_that_is_broken_is_as_one_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_library.py").write_text("raise OSError('libtbb.so.12: file too short')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(backends._MODULES, BackendName.OPENVINO, ("broken_library", "openvino"))
    assert list(backends.usual()) == [BackendName.ONNXRUNTIME]
    asked = ModelSettings(backend=BackendName.OPENVINO)
    with pytest.raises(BackendMissing, match=r"pip install 'openvino' \(libtbb.*too short"):
        backends.load(tmp_path / "m.onnx", asked)


def test_a_program_of_pytorch_may_be_compiled_but_is_not_by_itself() -> None:
    path = Path("m.pt2")
    assert backends.candidates(path, BackendName.AUTO) == (BackendName.TORCH,)
    assert backends.comparable(path) == (BackendName.TORCH, BackendName.INDUCTOR)
    assert backends.comparable(path, "cuda") == (BackendName.TORCH,)
    assert BackendName.INDUCTOR not in backends.comparable(Path("m.pt"))
    assert len(backends.comparable(Path("m.onnx"))) == 2


def test_what_every_backend_said_is_told_when_none_can(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"garbage" * 9)
    with pytest.raises(ModelLoadError) as caught:
        backends.load(path, ModelSettings())
    assert caught.value.message.count(str(path)) >= 2
    assert "openvino: " in caught.value.message
    assert "onnxruntime: " in caught.value.message


@pytest.mark.parametrize(
    "text",
    ["inputs: {x: [FP33, [1]]}", "scales: 2", "[", "inputs: 7", "load_ms: soon", "\x00"],
)
def test_a_double_that_makes_no_sense_is_refused_with_its_name(text: str, tmp_path: Path) -> None:
    path = tmp_path / "m.fake"
    path.write_text(text)
    with pytest.raises(ModelLoadError, match=r"m\.fake"):
        backends.load(path, ModelSettings())
