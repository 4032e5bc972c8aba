"""What stands in a parsed body for tensors that another process has made of it; the dialects."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from headrace.errors import HeadraceError
from headrace.values import Array


class Dialect(IntEnum):
    """How a JSON body says what its tensors are; a number, for it crosses a process border.

    Some are of requests alone, and the last three of answers.
    """

    TFSERVING = 1
    PLAIN = 2
    OIP = 3
    EXAMPLES = 4
    CLASSIFY = 5
    REGRESS = 6
    GENERATE = 7


FIRST_ONLY = frozenset({Dialect.TFSERVING, Dialect.EXAMPLES})
"""Those in which nobody looks at what follows the first JSON document."""


class Decoded:
    """Tensors by name, or why there are none: told where a front asks for them."""

    __slots__ = ("error", "tensors")

    def __init__(self, tensors: Mapping[str, Array], error: HeadraceError | None = None) -> None:
        self.tensors = tensors
        self.error = error

    def take(self) -> dict[str, Array]:
        """Return the tensors.

        Raises:
            HeadraceError: they do not fit the model.
        """
        if self.error is not None:
            # Another one: its traceback would hold us, and we it: a cycle, with the body in it.
            raise type(self.error)(self.error.message)
        return dict(self.tensors)

    def only(self) -> Array:
        """Return the tensor of which there is one.

        Raises:
            HeadraceError: it does not fit the model.
        """
        return next(iter(self.take().values()))
