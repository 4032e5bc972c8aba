"""What there is to choose from."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.settings import BackendName, ModelSettings, Precision
from headrace.tune.space import (
    Candidate,
    LeftOut,
    Variant,
    candidates,
    make_space,
    steps,
    together,
    untuned,
)

BOTH = (BackendName.OPENVINO, BackendName.ONNXRUNTIME)


@given(st.integers(1, 300))
def test_steps_double_from_one_to_the_most(most: int) -> None:
    found = steps(most)
    assert found[0] == 1
    assert found[-1] == most
    assert all(b <= 2 * a and b > a for a, b in pairwise(found))


def test_bf16_is_tried_only_where_the_processor_has_it_and_else_the_reason_is_told() -> None:
    with_it = make_space(BOTH, ("avx2", "avx512_bf16"), 2)
    without = make_space(BOTH, ("avx2",), 2)
    assert Variant(BackendName.OPENVINO, Precision.BF16, 2) in with_it.variants
    assert not with_it.left_out
    # Whether it has weights of 8 bits only its backend can tell.
    assert {one.precision for one in without.variants} == {Precision.F32, Precision.INT8}
    (left,) = without.left_out
    assert left.what == "openvino bf16"
    assert "no AMX, no AVX512_BF16" in left.why


def test_what_compiles_is_tried_only_where_that_is_kept() -> None:
    both = (BackendName.TORCH, BackendName.INDUCTOR)
    found = [one.arithmetic for one in make_space(both, ("amx_bf16",), 1).variants]
    # The first is what others are compared with; compiled first is what should be fastest.
    assert found == ["torch f32", "torch bf16", "inductor bf16", "inductor f32"]
    without = make_space(both, ("amx_bf16",), 2, keeps=False)
    assert {one.backend for one in without.variants} == {BackendName.TORCH}
    (left,) = without.left_out
    assert left.what == "inductor"
    assert "set server.cache_dir" in left.why


def test_onnx_runtime_is_not_asked_for_what_it_cannot_compute() -> None:
    found = make_space(BOTH, ("amx_bf16",), 4).variants
    assert {one.precision for one in found if one.backend is BackendName.ONNXRUNTIME} == {
        Precision.F32
    }
    assert {one.threads for one in found} == {1, 2, 4}


@given(st.integers(1, 64), st.integers(1, 64))
def test_no_candidate_wants_more_cores_than_there_are(cores: int, threads: int) -> None:
    variant = Variant(BackendName.OPENVINO, Precision.F32, min(threads, cores))
    found = list(candidates(variant, (1, 2, 4), cores))
    assert found
    assert all(1 <= one.cores <= cores for one in found)
    assert {one.max_batch for one in found} == {1, 2, 4}


def test_the_untuned_is_what_serve_takes() -> None:
    slow = {BackendName.OPENVINO: 0.004, BackendName.ONNXRUNTIME: 0.003}
    assert untuned(slow, 2, 64) == Candidate(BackendName.OPENVINO, Precision.F32, 2, 1, 64)
    tiny = {BackendName.OPENVINO: 0.00015, BackendName.ONNXRUNTIME: 0.00001}
    assert untuned(tiny, 2, 64).backend is BackendName.ONNXRUNTIME
    with pytest.raises(ValueError, match="no backend"):
        untuned({}, 2, 64)


def test_no_more_instances_and_threads_are_tried_than_may_be_set() -> None:
    variants = make_space([BackendName.FAKE], (), 384).variants
    assert max(one.threads for one in variants) == 256
    found = [one for variant in variants for one in candidates(variant, [1], 384)]
    assert max(one.instances for one in found) == 256
    serve = untuned({BackendName.FAKE: 0.02}, 384, 64)
    assert serve.instances == 256
    for one in (*found, serve):
        ModelSettings(instances=one.instances, threads=one.threads)


def test_what_is_left_out_for_the_same_reason_is_told_once() -> None:
    said = [LeftOut("a", "no"), LeftOut("b", "never"), LeftOut("c", "no")]
    assert together(said) == (LeftOut("a; c", "no"), LeftOut("b", "never"))


def test_the_flags_are_those_of_serve() -> None:
    one = Candidate(BackendName.OPENVINO, Precision.BF16, 2, 1, 8)
    assert " ".join(one.flags()) == (
        "--backend openvino --precision bf16 --instances 2 --threads 1 --max-batch 8"
    )
    assert "--precision bf16 --f32-layers 3 " in " ".join(replace(one, f32_layers=3).flags())


def test_layers_in_f32_that_are_set_are_of_what_mixes_and_told() -> None:
    found = make_space(BOTH, ("amx_bf16",), 1, f32_layers=3).variants
    assert [one.arithmetic for one in found] == [
        "openvino f32",
        "openvino bf16 (3 in f32)",
        "openvino int8",
        "onnxruntime f32",
    ]
    (mixed,) = (one for one in found if one.f32_layers)
    assert {one.variant for one in candidates(mixed, (1, 2), 1)} == {mixed}
