"""What a run raises, and how a library's words tell that the inputs are to blame.

They tell it of one thing alone: an index outside of its table. That other inputs do not fit each
other may as well be the model's fault.
"""

from __future__ import annotations

from headrace.errors import InferenceFailed, InvalidInput

RUN_ERRORS = (InferenceFailed, InvalidInput)
"""All that a run raises: the library broke, or it is known to be for what the inputs hold."""

OUTSIDE = (
    "an index is outside of the table that it is looked up in, as a token that is not in the "
    "vocabulary, a text that is longer than the model's longest, or one input that is shorter than "
    "another"
)
"""What is said of such an index, in words that somebody who sent a request knows."""

_SAY_SO = (
    "indices element out of data bounds",  # ONNX Runtime: Gather, ScatterElements
    "Out of range value in index tensor",  # GatherElements
    "invalid index found",  # GatherND
    "invalid indice found",  # ScatterND
    "points to non-existing data tensor element",  # OpenVINO: ScatterND
    "index out of range in self",  # PyTorch: embedding, index_select
    "is out of bounds for dimension",  # gather, index
    "index out of bounds:",  # what Inductor has compiled
)


def failure(said: str) -> InferenceFailed | InvalidInput:
    """What an error of a library is, by what it says."""
    if any(words in said for words in _SAY_SO):
        return InvalidInput(f"{OUTSIDE} ({said.strip()[-200:]})")
    return InferenceFailed(said[:500])
