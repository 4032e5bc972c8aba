from __future__ import annotations

from collections.abc import Sequence

import ml_dtypes
import numpy as np
import pytest

from headrace.errors import InvalidInput, ModelLoadError
from headrace.results import build
from headrace.settings import ResultStep
from headrace.values import Array, DType, RequestedOutput, Signature, TensorSpec

SIGNATURE = Signature(
    inputs=(TensorSpec("x", DType.FP32, (None, 4)),),
    outputs=(
        TensorSpec("scores", DType.FP32, (None, 3)),
        TensorSpec("boxes", DType.FP16, ("batch", 10, 4)),
        TensorSpec("ids", DType.INT64, (None,)),
        TensorSpec("text", DType.BYTES, (None, 2)),
    ),
    batched=True,
)
SCORES = np.array([[1.0, 3.0, 2.0], [0.5, -1.0, 0.25]], dtype=np.float32)
OUTPUTS: dict[str, Array] = {
    "scores": SCORES,
    "boxes": np.zeros((2, 10, 4), np.float16),
    "ids": np.array([7, 8]),
    "text": np.array([[b"a", b"b"], [b"c", b"d"]], dtype=object),
}


def _step(output: str, apply: str, k: int = 5) -> ResultStep:
    return ResultStep.model_validate({"output": output, "apply": apply, "k": k})


def _ask(*names: str, classification: int | None = None) -> Sequence[RequestedOutput]:
    return [RequestedOutput(name, classification) for name in names]


def test_nothing_to_do_returns_the_very_mapping() -> None:
    processor = build(SIGNATURE, ())
    assert processor.run(OUTPUTS, ()) is OUTPUTS
    assert processor.signature == SIGNATURE


def test_outputs_are_picked_in_the_order_asked_for() -> None:
    chosen = build(SIGNATURE, ()).run(OUTPUTS, _ask("ids", "scores"))
    assert list(chosen) == ["ids", "scores"]
    assert chosen["scores"] is SCORES


def test_steps_run_in_order_and_leave_the_input_alone() -> None:
    processor = build(
        SIGNATURE, [_step("scores", "softmax"), _step("scores", "top_k", 2)], ("a", "b", "c")
    )
    SCORES.flags.writeable = False
    got = processor.run({"scores": SCORES}, ())["scores"]
    assert got.shape == (2, 2)
    assert got[0].tolist() == [b"0.665241:1:b", b"0.244728:2:c"]
    spec = processor.signature.output("scores")
    assert spec == TensorSpec("scores", DType.BYTES, (None, 2))


def test_a_step_applies_to_its_output_alone() -> None:
    got = build(SIGNATURE, [_step("scores", "argmax")]).run(OUTPUTS, ())
    assert list(got) == list(OUTPUTS)
    assert got["scores"].tolist() == [1, 0]
    assert all(got[name] is OUTPUTS[name] for name in OUTPUTS if name != "scores")


@pytest.mark.parametrize(
    ("step", "shape", "dtype"),
    [
        (_step("boxes", "softmax"), ("batch", 10, 4), DType.FP16),
        (_step("boxes", "sigmoid"), ("batch", 10, 4), DType.FP16),
        (_step("boxes", "argmax"), ("batch", 10), DType.INT64),
        (_step("boxes", "top_k", 3), ("batch", 10, 3), DType.BYTES),
        (_step("boxes", "top_k", 9), ("batch", 10, 4), DType.BYTES),
    ],
)
def test_the_signature_says_what_comes_out(
    step: ResultStep, shape: tuple[object, ...], dtype: DType
) -> None:
    processor = build(SIGNATURE, [step])
    spec = processor.signature.output("boxes")
    assert spec is not None
    assert (spec.shape, spec.dtype) == (shape, dtype)
    got = processor.run(OUTPUTS, ())["boxes"]
    assert got.dtype == dtype.numpy
    assert got.shape == (2, *shape[1:])


def test_top_k_of_a_free_axis_has_a_free_size() -> None:
    signature = Signature((), (TensorSpec("y", DType.FP32, (None, "classes")),), batched=True)
    spec = build(signature, [_step("y", "top_k")]).signature.output("y")
    assert spec == TensorSpec("y", DType.BYTES, (None, None))


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([_step("score", "softmax")], "no output 'score'; outputs: scores, boxes, ids, text"),
        ([_step("ids", "sigmoid")], "sigmoid of output 'ids': needs floating-point numbers"),
        ([_step("text", "argmax")], "argmax of output 'text': needs numbers, the output is BYTES"),
        ([_step("ids", "argmax")], "needs an axis of classes, the output has shape [-1] here"),
        ([_step("scores", "top_k"), _step("scores", "softmax")], "the output is BYTES here"),
        ([_step("scores", "argmax"), _step("scores", "top_k")], "needs an axis of classes"),
    ],
)
def test_steps_that_do_not_fit_are_refused_when_built(steps: list[ResultStep], words: str) -> None:
    with pytest.raises(ModelLoadError) as caught:
        build(SIGNATURE, steps)
    assert words in caught.value.message


def test_labels_must_be_as_many_as_the_classes_they_name() -> None:
    with pytest.raises(ModelLoadError, match=r"has 3 classes and `labels` names 2"):
        build(SIGNATURE, [_step("scores", "top_k")], ("a", "b"))
    build(SIGNATURE, [_step("scores", "argmax")], ("a", "b"))


# -- classification ------------------------------------------------------------------------------


def test_classification_as_clients_of_triton_read_it() -> None:
    processor = build(SIGNATURE, (), ("cat", "dog"))
    got = processor.run(OUTPUTS, _ask("scores", classification=2))["scores"]
    assert got.tolist() == [
        [b"3.000000:1:dog", b"2.000000:2"],
        [b"0.500000:0:cat", b"0.250000:2"],
    ]


def test_labels_are_of_the_output_that_has_as_many_classes() -> None:
    processor = build(SIGNATURE, (), ("cat", "dog", "cow"))
    got = processor.run(OUTPUTS, [RequestedOutput("scores", 1), RequestedOutput("ids", 1)])
    assert got["scores"].tolist() == [[b"3.000000:1:dog"], [b"0.500000:0:cat"]]
    assert got["ids"].tolist() == [[b"7:0"], [b"8:0"]]


def test_top_k_of_another_output_than_the_labels_name_answers_without_them() -> None:
    labels = ("cat", "dog", "cow", "owl")  # of boxes
    processor = build(SIGNATURE, [_step("scores", "top_k", 1)], labels)
    got = processor.run(OUTPUTS, _ask("scores"))["scores"]
    assert got.tolist() == [[b"3.000000:1"], [b"0.500000:0"]]


def test_numbers_of_classes_are_not_named_as_if_they_were_scores() -> None:
    processor = build(SIGNATURE, [_step("scores", "argmax")], ("cat", "dog", "cow"))
    got = processor.run(OUTPUTS, [RequestedOutput("scores", 1), RequestedOutput("ids", 1)])
    assert got["scores"].tolist() == [[b"1:0"], [b"0:0"]]
    assert got["ids"].tolist() == [[b"7:0"], [b"8:0"]]


def test_classification_is_over_all_of_a_row() -> None:
    boxes = np.arange(80, dtype=np.float16).reshape(2, 10, 4)
    got = build(SIGNATURE, ()).run({"boxes": boxes}, _ask("boxes", classification=1))["boxes"]
    assert got.tolist() == [[b"39.000000:39"], [b"79.000000:39"]]


def test_classification_without_a_batch_axis_and_past_the_classes() -> None:
    signature = Signature((), (TensorSpec("y", DType.UINT8, (3,)),), batched=False)
    processor = build(signature, ())
    got = processor.run({"y": np.array([1, 255, 0], np.uint8)}, _ask("y", classification=9))
    assert got["y"].tolist() == [b"255:1", b"1:0", b"0:2"]


def test_classification_of_one_number_a_row_and_of_no_rows() -> None:
    processor = build(SIGNATURE, ())
    got = processor.run(OUTPUTS, _ask("ids", classification=1))["ids"]
    assert got.tolist() == [[b"7:0"], [b"8:0"]]
    none = {"scores": np.empty((0, 3), np.float32)}
    assert processor.run(none, _ask("scores", classification=1))["scores"].shape == (0, 1)


def test_classification_after_steps_and_of_half_floats() -> None:
    signature = Signature((), (TensorSpec("y", DType.BF16, (None, 2)),), batched=True)
    processor = build(signature, [_step("y", "softmax")])
    outputs = {"y": np.zeros((1, 2), ml_dtypes.bfloat16)}
    got = processor.run(outputs, _ask("y", classification=2))["y"]
    assert got.tolist() == [[b"0.500000:0", b"0.500000:1"]]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (_ask("score"), "unknown output 'score'; outputs: scores, boxes, ids, text"),
        (_ask("text", classification=1), "'text' is BYTES: only numbers can be classified"),
        (_ask("scores", classification=0), "classification should be at least 1, not 0"),
    ],
)
def test_what_cannot_be_asked_for(asked: Sequence[RequestedOutput], words: str) -> None:
    processor = build(SIGNATURE, ())
    for refuse in (lambda: processor.run(OUTPUTS, asked), lambda: processor.check(asked, 2)):
        with pytest.raises(InvalidInput) as caught:
            refuse()
        assert words in caught.value.message


def test_an_output_that_a_step_made_text_is_not_classified() -> None:
    processor = build(SIGNATURE, [_step("scores", "top_k")])
    with pytest.raises(InvalidInput, match="'scores' is BYTES"):
        processor.run(OUTPUTS, _ask("scores", classification=1))
    processor.check(_ask("scores"), 1)


# -- how many classes ----------------------------------------------------------------------------

WIDE = Signature(
    inputs=(),
    outputs=(TensorSpec("y", DType.FP32, (None, 5000)), TensorSpec("z", DType.FP32, (None, None))),
    batched=True,
)
MANY: dict[str, Array] = {name: np.zeros((3, 5000), np.float32) for name in ("y", "z")}


@pytest.mark.parametrize("classification", [4000, 10**9])
def test_too_many_classes_are_refused_before_the_model_runs(classification: int) -> None:
    processor = build(WIDE, ())
    asked = _ask("y", classification=classification)
    with pytest.raises(InvalidInput, match=r"at most 10000 .*send fewer rows .*or ask for fewer"):
        processor.check(asked, 3)
    with pytest.raises(InvalidInput, match="at most 10000"):
        processor.run(MANY, asked)


def test_a_row_has_no_more_classes_than_it_is_wide() -> None:
    asked = _ask("y", classification=10**9)
    processor = build(WIDE, ())
    processor.check(asked, 2)
    got = processor.run({"y": np.zeros((2, 5000), np.float32)}, asked)["y"]
    assert got.shape == (2, 5000)


def test_classes_of_all_outputs_of_a_request_count() -> None:
    asked = [RequestedOutput("y", 2000), RequestedOutput("z", 2000)]
    processor = build(WIDE, ())
    processor.check(asked, 3)  # how wide "z" is the model says when it has run
    with pytest.raises(InvalidInput, match="12000 classes"):
        processor.run(MANY, asked)


def test_too_many_classes_of_a_card_are_refused_too() -> None:
    processor = build(WIDE, [_step("y", "top_k", 4000), _step("z", "top_k", 4000)])
    processor.check((), 2)
    for refuse in (lambda: processor.check((), 3), lambda: processor.run(MANY, _ask("z"))):
        with pytest.raises(InvalidInput, match=r"12000 classes of all rows.*at most 10000"):
            refuse()


def test_a_card_that_asks_for_too_many_classes_of_each_row_does_not_load() -> None:
    signature = Signature((), (TensorSpec("y", DType.FP32, (None, 3, 5000)),), batched=True)
    build(signature, [_step("y", "top_k", 3000)])
    with pytest.raises(ModelLoadError, match=r"would tell 12000 classes a row.*lower `k`"):
        build(signature, [_step("y", "top_k", 4000)])
