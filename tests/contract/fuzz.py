"""What fuzz tests of decoders share: the fronts they ask, what of, and what may come of it."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import ClientError
from headrace.values import Array, DType, Signature, TensorSpec
from tests.contract import codecs
from tests.contract.calls import Call
from tests.contract.echo import Echo, model_name
from tests.contract.tensors import STEADY

ECHO = Echo()
FUZZ = settings(STEADY, max_examples=250)


def answered_or_refused(call: Call) -> bool:
    """Whether it was answered; anything but an answer or a ``ClientError`` fails the test."""
    try:
        assert ECHO.ask(call).status in {0, 200}
    except ClientError as error:
        assert error.message  # noqa: PT017 - an answer is as good as a refusal
        return False
    return True


# Of 250; a front that answers fewer was asked nothing but what its first check refuses.
FEWEST_ANSWERED = 25


def nonsense(calls: st.SearchStrategy[Call]) -> None:
    """Ask all of them; enough must be answered."""
    answered = []

    @FUZZ
    @given(calls)
    def check(call: Call) -> None:
        answered.append(answered_or_refused(call))

    check()
    assert sum(answered) >= FEWEST_ANSWERED, f"{sum(answered)} of {len(answered)} answered"


# -- good requests ---------------------------------------------------------------------------------

models = st.one_of(
    st.just("pair"),
    st.sampled_from([model_name(dtype, axes) for dtype in DType for axes in (0, 1, 2)]),
)


def models_of(*names: str) -> st.SearchStrategy[str]:
    """These, which a front takes, more often than any."""
    chosen = st.sampled_from(names)
    return st.one_of(chosen, chosen.map(str), models)


classifiers, regressors = models_of("FP32-2", "BYTES-2"), models_of("FP32-1")


def seldom(draw: st.DrawFn, times: int = 7) -> bool:
    """One time in so many; never in the simplest example."""
    return draw(st.integers(0, times - 1)) == times - 1


def array_of(draw: st.DrawFn, spec: TensorSpec, rows: int) -> Array:
    """A tensor that fits an input."""
    shape = [
        rows,
        *(dim if isinstance(dim, int) else draw(st.integers(0, 2)) for dim in spec.shape[1:]),
    ]
    shape = shape[: len(spec.shape)]
    count = int(np.prod(shape))
    values = draw(st.lists(st.integers(0, 1), min_size=count, max_size=count))
    if spec.dtype is DType.BYTES:
        return codecs.tensor(spec.dtype, shape, [b"ab"[:value] for value in values])
    return np.array(values, np.int64).astype(spec.dtype.numpy).reshape(shape)


def arrays_of(draw: st.DrawFn, signature: Signature) -> dict[str, Array]:
    rows = draw(st.integers(1, 2))
    return {spec.name: array_of(draw, spec, rows) for spec in signature.inputs}
