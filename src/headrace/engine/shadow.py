"""A version that is to take over runs what the one before it ran, and must give the same answers.

It is warm by then, and nobody waits for it yet: when it differs, the one that serves goes on.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from headrace.engine.agreement import changed, gaps, is_beyond, told, unlike
from headrace.engine.backends.contract import Instance
from headrace.engine.backends.failures import RUN_ERRORS
from headrace.engine.samples import Sample, read
from headrace.engine.slots import pack_bytes, unpack_bytes
from headrace.errors import MalformedRequest, ModelDiffers, ModelLoadError
from headrace.values import Array, Signature
from headrace.verify import Verify

# For all requests together; those that are left then are not compared.
_TOTAL_S = 10.0


class Verdict(NamedTuple):
    """It agrees: with which version, in how many requests, and how far each output is off."""

    version: int
    requests: int
    differences: Mapping[str, str]


def verify(path: Path, wanted: Verify, signature: Signature, instance: Instance) -> Verdict:
    """Run the requests in a file and compare the answers.

    Raises:
        ModelDiffers: they are further off than is allowed; says which and how far.
        ModelLoadError: the file cannot be read.
    """
    try:
        version, samples = read(path)
    except (OSError, ValueError, MalformedRequest) as error:
        raise ModelLoadError(f"what it must agree with cannot be read: {error}") from error
    answers: list[Mapping[str, Array]] = []
    end_s = time.monotonic() + _TOTAL_S
    for sample in samples:
        answers.append(_answer(sample, version, signature, instance))
        if time.monotonic() > end_s:
            break
    compared = len(answers)
    found = gaps([sample.outputs for sample in samples[:compared]], answers, wanted)
    beyond = [
        f"output {gap.output!r} differs by {told(gap)}, in {gap.off} of {compared} requests"
        for gap in found
        if is_beyond(gap, wanted)
    ]
    if beyond:
        raise ModelDiffers(
            f"it does not answer as version {version}, which serves: {'; '.join(beyond)} (allowed: "
            f"{wanted.difference * 100:g} % of the size of floats, {(1 - wanted.equal) * 100:.3g} %"
            " of other elements: verify.difference, verify.equal)"
        )
    return Verdict(version, compared, {gap.output: told(gap) for gap in found})


def _answer(
    sample: Sample, version: int, signature: Signature, instance: Instance
) -> Mapping[str, Array]:
    reason = changed(sample.inputs, signature)
    if reason is None:
        try:
            outputs = {name: _copy(a) for name, a in instance.run(sample.inputs).items()}
        except RUN_ERRORS as error:
            reason = f"a request fails: {error.message}"
        else:
            reason = unlike(sample.outputs, outputs)
            if reason is None:
                return outputs
    raise ModelDiffers(f"it cannot answer as version {version}, which serves: {reason}")


def _copy(array: Array) -> Array:
    """An output that outlives the next run; text as it would reach a client: bytes."""
    if array.dtype.hasobject:
        return unpack_bytes(pack_bytes(array), array.shape)
    return array.copy()
