from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.client.oip_grpc import OipGrpc
from headrace.client.oip_http import OipHttp
from headrace.client.options import OptionKeys, Options
from headrace.client.question import Codec
from headrace.client.result import ModelMetadata
from headrace.client.tensors import needs_metadata, prepare, raw
from headrace.errors import InvalidInput
from headrace.values import Array, DType, TensorSpec

WHOLE = [dtype for dtype in DType if dtype.numpy.kind in "iu"]


def _model(dtype: DType) -> ModelMetadata:
    return ModelMetadata("m", ("1",), "", (TensorSpec("x", dtype, (None,)),), ())


def _made(value: Any, dtype: DType) -> Array:
    return prepare("m", {"x": value}, Options(), _model(dtype)).inputs["x"]


@given(st.sampled_from(WHOLE), st.lists(st.integers(-(2**70), 2**70), min_size=1))
def test_whole_numbers_come_through_exactly_or_not_at_all(dtype: DType, value: list[int]) -> None:
    limits = np.iinfo(dtype.numpy)
    if all(limits.min <= one <= limits.max for one in value):
        array = _made(value, dtype)
        assert array.dtype == dtype.numpy
        assert array.tolist() == value
    else:
        with pytest.raises(InvalidInput):
            _made(value, dtype)


@given(st.lists(st.floats(allow_nan=False), min_size=1))
def test_fractions_never_become_whole_or_infinite_in_silence(value: list[float]) -> None:
    with pytest.raises(InvalidInput):
        _made(value, DType.INT64)
    np.testing.assert_array_equal(_made(value, DType.FP64), value)
    fits = [one in {float("inf"), float("-inf")} or abs(one) < 3.4e38 for one in value]
    if all(fits):
        assert _made(value, DType.FP32).dtype == np.float32
    elif any(3.5e38 < abs(one) < float("inf") for one in value):
        with pytest.raises(InvalidInput, match="does not fit FP32"):
            _made(value, DType.FP32)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        ([1, 0], DType.BOOL),
        ([True], DType.INT8),
        ([True], DType.FP32),
        ([[1], [1, 2]], DType.FP32),
        (None, DType.FP32),
        ([2**63, -1], DType.UINT64),
        ([70000.0], DType.FP16),
        (["a", 1], DType.BYTES),
        ([["a"], ["b", "c"]], DType.BYTES),
        ([1j], DType.FP32),
    ],
)
def test_what_would_not_come_through_is_refused(value: Any, dtype: DType) -> None:
    with pytest.raises(InvalidInput, match="'x'"):
        _made(value, dtype)


def test_arrays_are_not_copied_on_the_way() -> None:
    array = np.arange(4, dtype=np.float32)
    made = prepare("m", {"x": array}, Options(), None).inputs["x"]
    assert np.shares_memory(made, array)
    assert bytes(raw(made)) == array.tobytes()


@pytest.mark.parametrize("dtype", [d for d in DType if d is not DType.BYTES], ids=lambda d: d.value)
def test_the_bytes_of_every_dtype_and_of_scalars(dtype: DType) -> None:
    for array in (np.ones((), dtype.numpy), np.ones((2, 2), dtype.numpy), np.ones(0, dtype.numpy)):
        assert bytes(raw(array)) == array.tobytes()


@pytest.mark.parametrize("element", [1, None, ["a"], np.float32(1)])
def test_objects_that_are_no_text_are_refused(element: Any) -> None:
    array = np.empty(1, object)
    array[0] = element
    with pytest.raises(InvalidInput, match="str or bytes"):
        prepare("m", {"x": array}, Options(), None)


def test_texts_of_numpys_own_kind_are_texts() -> None:
    array = np.array([["a"], ["ü" * 40]], np.dtypes.StringDType())
    made = prepare("m", {"x": array}, Options(), None).inputs["x"]
    assert DType.of(made.dtype) is DType.BYTES
    assert made.tolist() == [["a"], ["ü" * 40]]
    missing = np.array(["a", None], np.dtypes.StringDType(na_object=None))
    with pytest.raises(InvalidInput, match=r"'x' is text: .* there is a NoneType"):
        prepare("m", {"x": missing}, Options(), None)


@pytest.mark.parametrize("dtype", ["complex64", "M8[D]", "V2", "f4,i4"])
def test_numbers_that_the_protocol_does_not_have_are_refused(dtype: str) -> None:
    with pytest.raises(InvalidInput, match=r"cannot be sent, only BOOL.*convert it with astype"):
        prepare("m", {"x": np.zeros(1, dtype)}, Options(), None)


class Foreign:
    """An array of another library, which numpy reads, or which it may not."""

    def __init__(self, array: Array | Exception) -> None:
        self._array = array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if isinstance(self._array, Exception):
            raise self._array
        return self._array


def test_arrays_of_other_libraries_become_what_the_model_takes_as_lists_do() -> None:
    foreign = Foreign(np.array([1.0, 2.0]))
    assert needs_metadata({"x": foreign}, Options())
    made = _made(foreign, DType.FP32)
    assert made.dtype == np.float32
    assert made.tolist() == [1, 2]


@pytest.mark.parametrize("error", [TypeError("on cuda:0"), RuntimeError("requires grad")])
def test_arrays_that_cannot_be_read_say_why(error: Exception) -> None:
    for value in (Foreign(error), [Foreign(error)]):
        for dtype in (DType.FP32, DType.BYTES):
            with pytest.raises(InvalidInput, match=f"'x' cannot be made an array: {error}"):
                _made(value, dtype)


@pytest.mark.parametrize("keys", [{"dtype": "bfloat16"}, {"requires_grad": True}])
def test_a_tensor_of_torch_that_numpy_cannot_read_is_a_typed_error(keys: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    if "dtype" in keys:
        keys = {"dtype": getattr(torch, keys["dtype"])}
    for value in (torch.ones(2, **keys), [torch.ones(2, **keys)]):
        with pytest.raises(InvalidInput, match="'x' cannot be made an array"):
            _made(value, DType.FP32)


def test_the_model_is_asked_only_where_it_must_be() -> None:
    array = np.ones(1)
    assert not needs_metadata({"x": array, "z": np.float32(1)}, Options())
    assert not needs_metadata({"x": array}, Options(outputs=["y"], classification=1))
    assert needs_metadata(array, Options())
    assert needs_metadata({"x": [1]}, Options())
    assert needs_metadata({"x": array}, Options(classification=1))


def test_the_options_are_those_type_checkers_know() -> None:
    assert OptionKeys.__annotations__.keys() == Options.__dataclass_fields__.keys()
    for name, field in Options.__dataclass_fields__.items():
        assert str(field.type) in str(OptionKeys.__annotations__[name]), name


@pytest.mark.parametrize("codec", [OipHttp(""), OipHttp("", binary=False), OipGrpc()])
def test_options_of_numpy_are_sent_as_python_s_own(codec: Codec) -> None:
    def sent(options: Options) -> bytes:
        return codec.infer(prepare("m", {"x": np.ones(1)}, options, None)).body

    ours: OptionKeys = {"priority": 3, "sequence_id": 2**63, "outputs": ["y"]}
    theirs: Any = {"priority": np.int64(3), "sequence_id": np.uint64(2**63), "outputs": ["y"]}
    ours |= {"classification": 2, "sequence_start": True, "sequence_end": False}
    theirs |= {"classification": np.int8(2), "sequence_start": np.True_}
    assert sent(Options(**theirs)) == sent(Options(**ours))
    assert sent(Options(sequence_id=np.str_("a"))) == sent(Options(sequence_id="a"))
