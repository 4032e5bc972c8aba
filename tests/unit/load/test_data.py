"""Real requests from files of every kind, and what is said of those that do not fit."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from headrace.errors import SettingsError
from headrace.load.apis.contract import Inputs, Specs
from headrace.load.data import File, read_requests, write_numpy
from headrace.load.payload import APIS
from headrace.values import DType, TensorSpec

X: Specs = (TensorSpec("x", DType.FP32, (None, 2)),)
TWO: Specs = (*X, TensorSpec("n", DType.INT64, (None,)))
TEXT: Specs = (TensorSpec("s", DType.BYTES, (None,)),)


def _read(path: Path, specs: Specs = X, rows: int = 1) -> list[Inputs]:
    found = read_requests(path, lambda: specs, rows)
    assert not any(isinstance(one, File) for one in found)
    return [one for one in found if not isinstance(one, File)]


def _assert_same(found: list[Inputs], expected: list[dict[str, Any]]) -> None:
    assert [one.keys() for one in found] == [one.keys() for one in expected]
    for one, wanted in zip(found, expected, strict=True):
        for name, value in wanted.items():
            np.testing.assert_array_equal(one[name], value)


def test_the_array_of_an_npy_file_is_cut_into_requests_of_so_many_rows(tmp_path: Path) -> None:
    array = np.arange(10, dtype=np.float32).reshape(5, 2)
    np.save(tmp_path / "x.npy", array)
    _assert_same(_read(tmp_path / "x.npy"), [{"x": array[i : i + 1]} for i in range(5)])
    _assert_same(_read(tmp_path / "x.npy", rows=2), [{"x": array[0:2]}, {"x": array[2:4]}])
    _assert_same(_read(tmp_path / "x.npy", rows=9), [{"x": array}])


def test_an_npz_file_has_an_array_for_each_input(tmp_path: Path) -> None:
    x, n = np.ones((3, 2), np.float32), np.arange(3)
    np.savez(tmp_path / "x.npz", x=x, n=n)
    found = _read(tmp_path / "x.npz", TWO)
    _assert_same(found, [{"x": x[i : i + 1], "n": n[i : i + 1]} for i in range(3)])
    assert found[0]["n"].dtype == np.int64


def test_arrays_of_any_name_are_written(tmp_path: Path) -> None:
    names = ("file", "args", "allow_pickle", "a/b", "größe")
    arrays = {name: np.full((2, 2), place, np.float32) for place, name in enumerate(names)}
    specs = tuple(TensorSpec(name, DType.FP32, (None, 2)) for name in names)
    write_numpy(tmp_path / "x.npz", arrays)
    _assert_same(_read(tmp_path / "x.npz", specs, rows=2), [arrays])


def test_bfloat16_is_read_though_files_of_numpy_do_not_name_it(tmp_path: Path) -> None:
    x = np.array([[1.5, -2], [3, 4]], ml_dtypes.bfloat16)
    specs = (TensorSpec("x", DType.BF16, (None, 2)),)
    np.savez(tmp_path / "one.npz", x=x)
    write_numpy(tmp_path / "two.npz", {"x": x})
    np.save(tmp_path / "three.npy", x.astype(np.float32))
    for name in ("one.npz", "two.npz", "three.npy"):
        (found,) = _read(tmp_path / name, specs, rows=2)
        assert found["x"].dtype == x.dtype
        np.testing.assert_array_equal(found["x"], x)
    with pytest.raises(SettingsError, match=r"x is \|V2, the model takes FP32"):
        _read(tmp_path / "one.npz")


def test_a_model_with_a_fixed_first_axis_gets_the_whole_array(tmp_path: Path) -> None:
    array = np.ones((4, 2), np.float32)
    np.save(tmp_path / "x.npy", array)
    _assert_same(_read(tmp_path / "x.npy", (TensorSpec("x", DType.FP32, (4, 2)),)), [{"x": array}])


def test_one_row_without_its_axis_is_a_request_of_one_row(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([1, 2], np.float32))
    _assert_same(_read(tmp_path / "x.npy"), [{"x": [[1, 2]]}])


@pytest.mark.parametrize(
    "document",
    [
        {"x": [[1, 2]]},
        {"inputs": {"x": [[1, 2]]}},
        {"inputs": [[1, 2]]},
        {"input": [[1, 2]]},
        {"input": {"x": [[1, 2]]}},
        {"instances": [[1, 2]]},
        {"instances": [{"x": [1, 2]}]},
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]},
        {"data": [{"x": {"content": [1, 2], "shape": [1, 2]}}]},
        [{"x": [1, 2]}],
    ],
    ids=json.dumps,
)
def test_json_is_read_as_any_of_the_protocols_writes_it(tmp_path: Path, document: object) -> None:
    (tmp_path / "x.json").write_text(json.dumps(document))
    found = _read(tmp_path / "x.json")
    _assert_same(found, [{"x": [[1, 2]]}])
    assert found[0]["x"].dtype == np.float32


def test_a_list_in_json_is_a_request_each(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('[{"x": [[1, 2]]}, {"x": [[3, 4], [5, 6]]}]')
    _assert_same(_read(tmp_path / "x.json"), [{"x": [[1, 2]]}, {"x": [[3, 4], [5, 6]]}])


@pytest.mark.parametrize(
    "document",
    [
        {"%s": [[1, 2]]},
        {"%s": [1, 2]},
        {"%s": {"content": [1, 2], "shape": [1, 2]}},
        {"inputs": {"%s": [[1, 2]]}},
        {"input": {"%s": [[1, 2]]}},
        {"instances": [{"%s": [1, 2]}]},
        {"inputs": [{"name": "%s", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]},
        {"data": [{"%s": [[1, 2]]}]},
        [{"%s": [[1, 2]]}],
    ],
    ids=json.dumps,
)
@pytest.mark.parametrize("name", ["input", "inputs", "instances", "data", "name"])
def test_inputs_may_be_called_as_the_protocols_call_their_parts(
    tmp_path: Path, document: object, name: str
) -> None:
    (tmp_path / "x.json").write_text(json.dumps(document).replace("%s", name))
    specs = (TensorSpec(name, DType.FP32, (None, 2)),)
    _assert_same(_read(tmp_path / "x.json", specs), [{name: [[1, 2]]}])


def test_an_input_called_input_may_have_others_beside_it(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"input": [[1, 2]], "n": [3]}')
    specs = (TensorSpec("input", DType.FP32, (None, 2)), TWO[1])
    _assert_same(_read(tmp_path / "x.json", specs), [{"input": [[1, 2]], "n": [3]}])


@pytest.mark.parametrize(
    ("dtype", "written"),
    [
        (DType.INT64, "1.7"),
        (DType.INT64, "null"),
        (DType.INT64, str(2**63)),
        (DType.UINT8, "300"),
        (DType.UINT8, "-1"),
        (DType.UINT64, "-1"),
        (DType.BOOL, "2"),
        (DType.FP16, "1e9"),
        (DType.BF16, "1e39"),
        (DType.FP32, "null"),
        (DType.FP32, '"1"'),
        (DType.BYTES, "null"),
        (DType.UINT64, f"-1, {2**63}"),
        (DType.INT64, f"1.5, {2**53 + 1}"),
        (DType.INT64, f"1.0, {2**63}"),
    ],
)
def test_a_number_that_would_be_sent_as_another_is_refused(
    tmp_path: Path, dtype: DType, written: str
) -> None:
    (tmp_path / "x.json").write_text(f'{{"x": [{written}]}}')
    with pytest.raises(SettingsError, match=rf"x\.json: x: .* does not fit {dtype.value}"):
        _read(tmp_path / "x.json", (TensorSpec("x", dtype, (None,)),))


@pytest.mark.parametrize(
    ("dtype", "written"),
    [
        (DType.INT64, [1.0, -(2**63)]),
        (DType.UINT64, [2**63 + 5, 1]),
        (DType.INT64, [2**53 + 1, 1.0]),
        (DType.INT64, [-(2**62) - 1, 1.0]),
        (DType.UINT8, [0, 255]),
        (DType.BOOL, [0, 1]),
        (DType.FP16, [65504, True]),
        (DType.BF16, [1, 2.5]),
    ],
)
def test_a_number_that_fits_is_sent_as_it_is(
    tmp_path: Path, dtype: DType, written: list[Any]
) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"x": written}))
    (found,) = _read(tmp_path / "x.json", (TensorSpec("x", dtype, (None,)),))
    assert found["x"].tolist() == written


@pytest.mark.parametrize(
    ("dtype", "data"),
    [
        (DType.UINT64, [1, 2**63 + 1]),
        (DType.INT64, [1.0, 2**53 + 1]),
        (DType.BYTES, ["a\0", "b"]),
        (DType.BYTES, ["a", {"b64": "/w=="}]),
        (DType.BYTES, [{"b64": "/w\n==\n"}, "a"]),
    ],
)
def test_elements_with_a_shape_are_sent_as_they_are(
    tmp_path: Path, dtype: DType, data: list[Any]
) -> None:
    expected = {"a\0": b"a\0", "a": b"a", "b": b"b"}
    whole = [b"\xff" if isinstance(one, dict) else expected.get(one, one) for one in data]
    one = {"name": "x", "datatype": dtype.value, "shape": [2, 1], "data": data}
    for document in ({"inputs": [one]}, {"x": {"content": data, "shape": [2, 1]}}):
        (tmp_path / "x.json").write_text(json.dumps(document))
        (found,) = _read(tmp_path / "x.json", (TensorSpec("x", dtype, (None, 1)),))
        assert found["x"].tolist() == [[one] for one in whole]


@pytest.mark.parametrize(
    "written", ['[["a"], ["b", "c"]]', '[{"b64": "!!!!"}]', '[{"b64": "YQ"}]', '[["a"], "b"]']
)
def test_strings_that_are_none_are_refused(tmp_path: Path, written: str) -> None:
    (tmp_path / "x.json").write_text(f'{{"s": {written}}}')
    with pytest.raises(SettingsError, match=r"x\.json: "):
        _read(tmp_path / "x.json", TEXT)


@pytest.mark.parametrize("api", ["plain", "tfs-rest"])
@pytest.mark.parametrize("dtype", [np.float32, DType.BF16.numpy])
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_a_number_that_json_has_not_is_refused(api: str, dtype: Any, number: float) -> None:
    with pytest.raises(ValueError, match="JSON has no NaN"):
        APIS[api].encode("m", {"x": np.array([[1.0, number]], dtype)})


def test_strings_in_json_are_text_or_base64(tmp_path: Path) -> None:
    coded = base64.b64encode(b"\xff").decode()
    (tmp_path / "x.json").write_text(json.dumps({"inputs": {"s": ["hi", {"b64": coded}]}}))
    _assert_same(_read(tmp_path / "x.json", TEXT), [{"s": [b"hi", b"\xff"]}])


def test_other_files_are_sent_as_they_are_and_a_folder_is_all_of_them(tmp_path: Path) -> None:
    (tmp_path / "b.jpg").write_bytes(b"jpeg")
    (tmp_path / "a.txt").write_bytes(b"text")
    (tmp_path / ".hidden").write_bytes(b"no")
    np.save(tmp_path / "c.npy", np.ones((1, 2), np.float32))

    assert read_requests(tmp_path / "b.jpg", lambda: X, 1) == [File(b"jpeg", "image/jpeg")]
    *files, last = read_requests(tmp_path, lambda: X, 1)
    assert files == [File(b"text", "text/plain"), File(b"jpeg", "image/jpeg")]
    assert not isinstance(last, File)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.json", b"{", "x.json: "),
        ("x.json", b"3", "an object of names and tensors"),
        ("x.json", b'{"y": [1]}', "y is none of the model's inputs"),
        ("x.json", b'{"x": [[1, 2, 3]]}', r"x is of shape \(1, 3\), the model takes \(any,2\)"),
        ("x.json", b'{"x": [[1], [2, 3]]}', "x.json: "),
        ("x.json", b'{"instances": []}', "instances should be a list of rows, at least one"),
        ("x.json", b'{"instances": {"x": [1, 2]}}', "instances should be a list of rows"),
        ("x.npy", b"PK", "x.npy: "),
        ("x.npy", b"", "x.npy: it is empty, cut off or damaged, write it anew"),
        ("x.npz", b"", "x.npz: it is empty, cut off or damaged"),
        ("x.npz", b"PK\x03\x04 and no more", "x.npz: it is empty, cut off or damaged"),
        ("x.json", b"{}", "x.json: there is no input in it; the model's are x"),
        ("x.json", b"[]", "there is nothing to send in it"),
    ],
)
def test_what_does_not_fit_is_said_with_the_file(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SettingsError, match=message):
        _read(tmp_path / name)


def test_a_type_that_would_lose_something_is_refused_and_a_wider_float_is_not(
    tmp_path: Path,
) -> None:
    np.save(tmp_path / "x.npy", np.ones((1, 2)))
    assert _read(tmp_path / "x.npy")[0]["x"].dtype == np.float32
    np.save(tmp_path / "x.npy", np.ones((1, 2), np.complex64))
    with pytest.raises(SettingsError, match="x is complex64, the model takes FP32"):
        _read(tmp_path / "x.npy")


def test_an_array_of_numbers_that_do_not_fit_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([300]))
    with pytest.raises(SettingsError, match=r"x\.npy: x: .* does not fit INT8"):
        _read(tmp_path / "x.npy", (TensorSpec("x", DType.INT8, (None,)),))


def test_an_npz_file_without_arrays_is_said(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz")
    with pytest.raises(SettingsError, match=r"x\.npz: there is no input in it"):
        _read(tmp_path / "x.npz")


def test_an_array_without_a_name_is_not_guessed(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((1, 2), np.float32))
    with pytest.raises(SettingsError, match=r"several inputs \(x, n\)"):
        _read(tmp_path / "x.npy", TWO)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        _read(tmp_path / "no.npy")
    with pytest.raises(SettingsError, match="there is nothing to send"):
        _read(tmp_path)
