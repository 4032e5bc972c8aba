"""Whether a loaded model has what can be asked of it, and whether a batch of it can be told of."""

from __future__ import annotations

from headrace.engine.messages import MAX_FRAME_BYTES, layout_bytes
from headrace.errors import ModelLoadError
from headrace.values import Signature, TensorSpec

# The head of a frame, and beside the inputs of a batch that failed the reason.
_SPARE_BYTES = 2**13


def refuse_unservable(signature: Signature) -> None:
    """Refuse a model that would be ready and answer nobody.

    Raises:
        ModelLoadError: clients would have nothing to send, or there are too many tensors.
    """
    if not signature.inputs:
        raise ModelLoadError("the model has no inputs, and a request needs one: add an input")
    for kind, specs in (("inputs", signature.inputs), ("outputs", signature.outputs)):
        _refuse_many(kind, specs)


def _refuse_many(kind: str, specs: tuple[TensorSpec, ...]) -> None:
    size_bytes = layout_bytes(len(spec.shape) for spec in specs)
    if size_bytes <= MAX_FRAME_BYTES - _SPARE_BYTES:
        return
    most = len(specs) * (MAX_FRAME_BYTES - _SPARE_BYTES) // size_bytes
    raise ModelLoadError(
        f"the model has {len(specs)} {kind}, and of such shapes no more than about {most} can be "
        f"served: make one tensor of several {kind}"
    )
