"""What is kept of a load: used when it fits, ignored when anything about it does not."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.engine import cache, warmup
from headrace.engine.cache import Cache, Record
from headrace.engine.preparing import prepared
from headrace.engine_control import EngineSpec, SignatureMessage
from headrace.settings import BackendName, ModelSettings
from headrace.values import DType, Signature, TensorSpec
from tests.contract.models import attention
from tests.e2e.conftest import write_linear

X = TensorSpec("x", DType.FP32, (None, 4))
RECORD = Record(
    backend="fake",
    reason="asked for",
    signature=SignatureMessage.of(Signature((X,), (X,), batched=True)),
    batch_sizes=(1, 2),
    measurements=(),
    output_bytes=32,
    shapes=({"x": (4,)},),
    fill=0,
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_linear(tmp_path / "linear/1/model.onnx", 1.0)


def write(kept: Cache, record: Record = RECORD, blob: bytes = b"") -> None:
    kept.write(kept.key() or "none", record, blob)


def entry(folder: Path) -> Path:
    (found,) = (folder / "engines").iterdir()
    return found


def test_an_entry_comes_back_as_it_was_written_and_is_its_owners_alone(
    model: Path, tmp_path: Path
) -> None:
    kept = Cache(tmp_path / "c", model, ModelSettings())
    assert kept.read() is None
    write(kept, RECORD, b"compiled")
    again = kept.read()
    assert again is not None
    assert again.record == RECORD
    assert again.blob is not None
    assert again.blob.tobytes() == b"compiled"
    assert (tmp_path / "c/engines").stat().st_mode & 0o777 == 0o700
    assert entry(tmp_path / "c").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("folder", [None, "c"])
def test_nothing_is_written_without_a_folder_or_for_a_model_that_forbids_it(
    folder: str | None, model: Path, tmp_path: Path
) -> None:
    where = None if folder is None else tmp_path / folder
    kept = Cache(where, model, ModelSettings(cache=folder is None))
    write(kept, RECORD, b"compiled")
    assert kept.read() is None
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ({"precision": "bf16"}, False),
        ({"threads": 2}, False),
        ({"buckets": {"x": {1: [4]}}}, False),
        ({"slo_ms": 5.0}, False),
        ({"slot_mib": 2}, False),  # how many rows there is room for was found out, too
        ({"nice": 3, "max_queue": 7, "name": "other"}, True),
    ],
)
def test_only_settings_that_matter_make_another_entry(
    change: dict[str, object], fits: bool, model: Path, tmp_path: Path
) -> None:
    write(Cache(tmp_path / "c", model, ModelSettings()))
    found = Cache(tmp_path / "c", model, ModelSettings.model_validate(change)).read()
    assert (found is not None) is fits


def test_a_file_of_the_model_that_changes_makes_another_entry(model: Path, tmp_path: Path) -> None:
    kept = Cache(tmp_path / "c", model, ModelSettings())
    weights = model.with_name("weights.bin")
    weights.write_bytes(b"1")
    write(kept)
    assert kept.read() is not None
    weights.write_bytes(b"22")
    assert kept.read() is None


def test_an_entry_on_a_disk_that_is_only_read_is_used(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def utime(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    kept = Cache(tmp_path / "c", model, ModelSettings())
    write(kept)
    monkeypatch.setattr(os, "utime", utime)
    assert kept.read() is not None


def test_what_changed_while_it_was_loaded_is_not_kept(model: Path, tmp_path: Path) -> None:
    kept = Cache(tmp_path / "c", model, ModelSettings())
    key = kept.key()
    assert key is not None
    write_linear(model, 5.0)
    kept.write(key, RECORD)
    assert not (tmp_path / "c").exists()


def test_a_name_that_is_a_pattern_and_times_that_were_set_back_are_seen(tmp_path: Path) -> None:
    path = write_linear(tmp_path / "m[v2].onnx", 1.0)
    kept = Cache(tmp_path / "c", path, ModelSettings())
    write(kept)
    assert kept.read() is not None
    times, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert kept.read() is None


def test_of_a_folder_that_is_a_link_nothing_is_kept(model: Path, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (model.parent / "variables").symlink_to(tmp_path / "shared")
    assert Cache(tmp_path / "c", model, ModelSettings()).key() is None


@pytest.mark.parametrize("others", ["file", "folder", "fifo", "link"])
def test_what_others_may_have_written_is_not_read(others: str, model: Path, tmp_path: Path) -> None:
    kept = Cache(tmp_path / "c", model, ModelSettings())
    write(kept, RECORD, b"compiled")
    assert kept.read() is not None
    file = entry(tmp_path / "c")
    match others:
        case "file":
            file.chmod(0o620)
        case "folder":
            file.parent.chmod(0o702)
        case "fifo":
            file.unlink()
            os.mkfifo(file, 0o600)
        case _:
            file.rename(tmp_path / "elsewhere")
            file.symlink_to(tmp_path / "elsewhere")
    assert kept.read() is None


@pytest.mark.parametrize("folder", ["models", "1"])
def test_weights_beside_a_lone_file_that_change_make_another_entry(
    folder: str, tmp_path: Path
) -> None:
    path = tmp_path / folder / "model.onnx"
    (path.parent / "parts").mkdir(parents=True)
    weights = path.parent / "parts/w"
    weights.write_bytes(b"1")
    path.write_bytes(b"..\x0a\x08location\x12\x07parts/w..")
    kept = Cache(tmp_path / "c", path, ModelSettings())
    write(kept)
    assert kept.read() is not None
    weights.write_bytes(b"22")
    assert kept.read() is None


def test_another_model_in_a_folder_with_a_number_for_its_name_makes_no_other_entry(
    tmp_path: Path,
) -> None:
    model, other = (write_linear(tmp_path / f"7/{name}.onnx", 1.0) for name in "ab")
    kept = Cache(tmp_path / "c", model, ModelSettings())
    write(kept)
    write_linear(other, 2.0)
    assert kept.read() is not None


def test_a_file_with_weights_that_cannot_be_found_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"..\x0a\x08location\x12\x07../up/w..")
    kept = Cache(tmp_path / "c", path, ModelSettings())
    write(kept)
    assert kept.read() is None


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_damaged_counts_as_none(
    data: st.DataObject, model: Path, tmp_path: Path
) -> None:
    kept = Cache(tmp_path / "c", model, ModelSettings())
    write(kept, RECORD, b"compiled")
    file = entry(tmp_path / "c")
    whole = bytearray(file.read_bytes())
    record_end = whole.rindex(b"}") + 1
    places = st.integers(0, record_end - 1) | st.integers(4096, len(whole) - 1)
    if data.draw(st.booleans()):
        del whole[data.draw(st.integers(0, len(whole) - 1)) :]
    else:
        whole[data.draw(places)] ^= data.draw(st.integers(1, 255))
    file.write_bytes(whole)
    assert kept.read() is None


def test_a_folder_that_cannot_be_written_to_is_no_failure(model: Path, tmp_path: Path) -> None:
    (tmp_path / "c").write_text("a file")
    kept = Cache(tmp_path / "c", model, ModelSettings())
    write(kept)
    assert kept.read() is None
    assert (tmp_path / "c").read_text() == "a file"


def test_the_entries_used_longest_ago_go(tmp_path: Path) -> None:
    for age in range(5):
        file = tmp_path / f"{age}.entry"
        file.write_bytes(bytes(100))
        os.utime(file, (1000 - age, 1000 - age))
    (tmp_path / "a.plan").write_bytes(bytes(1000))  # somebody else's
    cache._prune(tmp_path, limit_bytes=250)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["0.entry", "1.entry", "a.plan"]


def test_of_a_file_written_again_and_again_a_few_editions_are_kept(
    model: Path, tmp_path: Path
) -> None:
    other = Cache(tmp_path / "c", model, ModelSettings(threads=2))
    kept = Cache(tmp_path / "c", model, ModelSettings())
    write(other)
    for number in range(10):
        os.utime(model, ns=(number, number))
        write(kept)
    assert kept.read() is not None
    assert len(list((tmp_path / "c/engines").iterdir())) == 1 + cache._EDITIONS


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime", "auto"])
@pytest.mark.parametrize("instances", [1, 2])
def test_a_second_load_computes_the_same(
    backend: str, instances: int, model: Path, tmp_path: Path
) -> None:
    spec = EngineSpec(
        name="linear",
        version=1,
        path=str(model),
        socket_path="",
        settings=ModelSettings.model_validate(
            {"backend": backend, "instances": instances, "max_batch": 4}
        ),
        cache_dir=str(tmp_path / "c"),
    )
    first = prepared(spec, lambda _: None)
    second = prepared(spec, lambda _: None)
    assert (first.cached, second.cached) == (False, True)
    assert second.warm == first.warm
    assert second.choice[0] == first.choice[0]
    x = {"x": np.arange(8, dtype=np.float32).reshape(2, 4)}
    for one, other in zip(first.instances, second.instances, strict=True):
        np.testing.assert_array_equal(one.run(x)["y"], other.run(x)["y"])


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_sizes_found_beside_others_in_less_time_are_found_again_alone(
    backend: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warmup, "_TOTAL_BESIDE_S", 0.0)

    def load(*, beside: bool) -> tuple[bool, int]:
        loaded = prepared(spec.model_copy(update={"beside": beside}), lambda _: None)
        assert loaded.choice.backend == backend
        return loaded.cached, len(loaded.warm.batch_sizes)

    spec = EngineSpec(
        name="linear",
        version=1,
        path=str(model),
        socket_path="",
        settings=ModelSettings.model_validate({"backend": backend, "instances": 1, "max_batch": 2}),
        cache_dir=str(tmp_path / "c"),
    )
    assert load(beside=True) == (False, 1)
    assert load(beside=True) == (True, 1)
    assert load(beside=False) == (False, 2)
    assert load(beside=False) == (True, 2)
    assert load(beside=True) == (True, 2)
    assert len(list((tmp_path / "c/engines").iterdir())) == 1


def test_so_does_that_of_a_model_that_only_runs_with_zeros(tmp_path: Path) -> None:
    spec = EngineSpec(
        name="words",
        version=1,
        path=str(attention(tmp_path / "words.onnx", kinds=1)),
        socket_path="",
        settings=ModelSettings(max_batch=2, instances=1, backend=BackendName.OPENVINO),
        cache_dir=str(tmp_path / "c"),
    )
    first = prepared(spec, lambda _: None)
    second = prepared(spec, lambda _: None)
    assert (first.cached, second.cached) == (False, True)
    assert second.warm == first.warm


@pytest.mark.parametrize(
    "wrong",
    [
        {"backend": "openvino"},
        {"backend": "onnxruntime", "shapes": ({"q": (4,)},)},
    ],
)
def test_what_cannot_be_used_is_made_again(
    wrong: dict[str, object], model: Path, tmp_path: Path
) -> None:
    """A compiled model that its library refuses, and what is of other inputs."""
    chosen = ModelSettings.model_validate(
        {"backend": wrong["backend"], "instances": 1, "max_batch": 2}
    )
    blob = b"of another version" if chosen.backend is BackendName.OPENVINO else b""
    write(Cache(tmp_path / "c", model, chosen), RECORD.model_copy(update=wrong), blob)
    spec = EngineSpec(
        name="linear",
        version=1,
        path=str(model),
        socket_path="",
        settings=chosen,
        cache_dir=str(tmp_path / "c"),
    )
    assert not prepared(spec, lambda _: None).cached
    assert prepared(spec, lambda _: None).cached
