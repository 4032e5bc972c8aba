"""The table of malformed requests, a file for each front.

``REPOSITORY`` is what the server that gets them must serve, with bodies of ``LIMIT_BYTES`` at most.
"""

from tests.contract.malformed import (
    grpc_framing,
    oip_grpc,
    oip_rest,
    oip_rest_binary,
    plain,
    tfserving_grpc,
    tfserving_rest,
    triton,
)
from tests.contract.malformed.case import LIMIT_BYTES, Case

__all__ = ["CASES", "LIMIT_BYTES", "REPOSITORY", "Case"]

REPOSITORY = {
    "linear": "inputs: {x: [FP32, [null, 4]]}\noutputs: {y: [FP32, [null, 4]]}\n"
    "scale: 2\nbase_ms: 2\n",
    "pair": "inputs: {left: [FP32, [null, 2]], right: [INT64, [null, 2]]}\n"
    "outputs: {l: [FP32, [null, 2]], r: [INT64, [null, 2]]}\n",
    "words": "inputs: {text: [BYTES, [null]]}\noutputs: {text_bytes: [BYTES, [null]]}\n",
    "small": "inputs: {x: [INT8, [null]], flag: [BOOL, [null]]}\n"
    "outputs: {y: [INT8, [null]], z: [BOOL, [null]]}\n",
    "free": "inputs: {x: [FP16, [null, null]]}\noutputs: {y: [FP16, [null, null]]}\n",
    "wide": "inputs: {x: [FP32, [null, null]]}\noutputs: {y: [FP32, [null, null]]}\n",
    "broken": "inputs: nothing that makes sense\n",
}
"""Doubles by name; ``broken`` cannot be loaded. ``linear`` has versions 1 and 3."""

CASES: tuple[Case, ...] = (
    *oip_rest.CASES,
    *oip_rest_binary.CASES,
    *tfserving_rest.CASES,
    *plain.CASES,
    *grpc_framing.CASES,
    *oip_grpc.CASES,
    *tfserving_grpc.CASES,
    *triton.CASES,
)
