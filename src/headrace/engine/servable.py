"""Whether a loaded model has what can be asked of it, and whether what is told of it can be."""

from __future__ import annotations

from headrace.engine.messages import MAX_FRAME_BYTES, layout_bytes
from headrace.engine_control import Profile
from headrace.errors import ModelLoadError
from headrace.message import LINE_LIMIT_BYTES, line
from headrace.settings import ModelSettings
from headrace.values import Signature, TensorSpec

# The head of a frame, and beside the inputs of a batch that failed the reason.
_SPARE_BYTES = 2**13
# Of a model's profile and its settings: the receivers are told both in one line, with some more.
_TOLD_BYTES = LINE_LIMIT_BYTES // 2


def refuse_unservable(signature: Signature) -> None:
    """Refuse a model that would be ready and answer nobody.

    Raises:
        ModelLoadError: clients would have nothing to send, or there are too many tensors.
    """
    if not signature.inputs:
        raise ModelLoadError("the model has no inputs, and a request needs one: add an input")
    for kind, specs in (("inputs", signature.inputs), ("outputs", signature.outputs)):
        _refuse_many(kind, specs)


def refuse_untellable(profile: Profile, settings: ModelSettings) -> None:
    """Refuse a model of which more is to be told than our processes read.

    Raises:
        ModelLoadError: names or labels are megabytes long.
    """
    size_bytes = len(line(profile)) + len(settings.model_dump_json().encode())
    if size_bytes > _TOLD_BYTES:
        raise ModelLoadError(
            f"what is to be told of the model takes {size_bytes} bytes, at most {_TOLD_BYTES} can "
            "be: shorten its labels, or the names of its tensors and their axes"
        )


def _refuse_many(kind: str, specs: tuple[TensorSpec, ...]) -> None:
    size_bytes = layout_bytes(len(spec.shape) for spec in specs)
    if size_bytes <= MAX_FRAME_BYTES - _SPARE_BYTES:
        return
    most = len(specs) * (MAX_FRAME_BYTES - _SPARE_BYTES) // size_bytes
    raise ModelLoadError(
        f"the model has {len(specs)} {kind}, and of such shapes no more than about {most} can be "
        f"served: make one tensor of several {kind}"
    )
