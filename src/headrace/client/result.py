"""What a client's callers get: results, and what servers say of themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from headrace.errors import InvalidInput
from headrace.values import Array, TensorSpec


@dataclass(frozen=True, slots=True, eq=False)
class Result(Mapping[str, Array]):
    """The outputs of one inference by name.

    The arrays are views of the answer, and so cannot be written to: copy one to change it.
    ``BYTES`` are object arrays of ``bytes``.

    Attributes:
        model: the model that answered.
        version: its version, as the server calls it.
        id: the request's id, or nothing.
        outputs: name → array, in the order of the answer.
    """

    model: str
    version: str
    id: str
    outputs: Mapping[str, Array]

    @property
    def output(self) -> Array:
        """The only output.

        Raises:
            InvalidInput: there are several.
        """
        if len(self.outputs) != 1:
            names = ", ".join(self.outputs)
            raise InvalidInput(f"{self.model!r} has several outputs, name one of: {names}")
        return next(iter(self.outputs.values()))

    def __getitem__(self, name: str) -> Array:
        return self.outputs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.outputs)

    def __len__(self) -> int:
        return len(self.outputs)


@dataclass(frozen=True, slots=True)
class ServerMetadata:
    """What a server says of itself."""

    name: str
    version: str
    extensions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """What a server says of a model; a free dimension is None."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True)
class ModelState:
    """One version of a model in the server's repository, in the server's words."""

    name: str
    version: str
    state: str
    reason: str
