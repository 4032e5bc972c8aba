"""What tells one machine from another, and what does not."""

from __future__ import annotations

import pytest

from headrace.fingerprint import differs, features, fingerprint, processor
from tests.unit.tuned.cards import MACHINE

CPUINFO = """\
processor\t: 0
model name\t: Example  9000 @ 2.10GHz
flags\t\t: fpu sse avx2 avx512f hypervisor amx_bf16

processor\t: 1
model name\t: Another
flags\t\t: fpu
"""


def test_the_first_processor_is_read() -> None:
    assert processor(CPUINFO) == "Example 9000 @ 2.10GHz"
    assert features(CPUINFO) == ("avx2", "avx512f", "amx_bf16")


def test_what_the_kernel_does_not_say_is_the_architecture() -> None:
    assert processor("processor: 0\nFeatures: asimd bf16 atomics\n")
    assert features("processor: 0\nFeatures: asimd bf16 atomics\n") == ("asimd", "bf16")


def test_this_machine_is_like_itself() -> None:
    here = fingerprint()
    assert here.cores >= 1
    assert here.libraries["openvino"]
    assert differs(here, fingerprint()) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"processor": "Other"}, "the processor is Other, and was Example 9000"),
        ({"cores": 1}, "1 core may be used, and 2 cores could"),
        ({"features": ("avx2", "avx512f")}, "the processor has no amx_bf16"),
        ({"features": (*MACHINE.features, "amx_fp16")}, "the processor has amx_fp16 now"),
        (
            {"libraries": {"openvino": "2027.0", "onnxruntime": "1.32.0"}},
            "openvino is 2027.0, and was 2026.4.1",
        ),
        ({"libraries": {"openvino": "2026.4.1"}}, "onnxruntime is not installed, and was 1.32.0"),
    ],
)
def test_each_difference_is_told(change: dict[str, object], words: str) -> None:
    assert differs(MACHINE, MACHINE.model_copy(update=change)) == [words]


def test_the_order_of_abilities_and_the_memory_make_no_difference() -> None:
    other = {"features": tuple(reversed(MACHINE.features)), "memory_bytes": 1}
    assert differs(MACHINE, MACHINE.model_copy(update=other)) == []
