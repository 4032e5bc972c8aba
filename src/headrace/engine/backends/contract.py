"""What a backend is: load a model once, run it from several threads.

A backend module offers ``load(path, settings) -> Model``. One that can give a compiled model away
also has ``revive(path, settings, blob) -> Model``, and its models ``export() -> memoryview``. Where
a run copies to a GPU and back, a model may have ``stages``, so many that an instance can be given
at once, and its instances ``beside() -> Instance`` for each but the first, and ``pin(areas) ->
release`` for memory that they will be given views of. A model that does what ``normalise`` of its
card asks for by itself has ``normalises``; one whose library keeps what computes to cores, each
instance to its own, has ``pins``; one whose strings must be UTF-8 has ``text_only``.
``tests/contract/test_backends.py`` runs one suite over every implementation.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from headrace.settings import ModelSettings
from headrace.values import Array, Signature


class Instance(Protocol):
    """One lane: used by one thread only."""

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Run one batch.

        Inputs are C-contiguous, named and typed as the signature says; they may be views of shared
        memory and are not written to. Outputs are valid until the next ``run`` of this instance.

        Raises:
            InferenceFailed: the library refused or broke on this batch; the instance lives on.
            InvalidInput: it is known to be for what the inputs hold.
        """


class Model(Protocol):
    """A loaded model."""

    @property
    def signature(self) -> Signature:
        """Inputs and outputs, in the model's own order."""

    @property
    def fixed_sizes(self) -> bool:
        """Whether a first run at a new batch size is expensive, so that batches are padded up."""

    @property
    def precision(self) -> str:
        """The arithmetic it really uses."""

    @property
    def integer_bits(self) -> int:
        """How many bits integers are computed in, whatever their dtype; larger ones would wrap."""

    def instance(self) -> Instance:
        """Make one more lane over the same weights."""


class Load(Protocol):
    """The one function of a backend module."""

    def __call__(self, path: Path, settings: ModelSettings) -> Model:
        """Load a model.

        Raises:
            ModelLoadError: the file cannot be read or compiled, or the precision is not to be had.
            BackendMissing: the library is not installed.
        """
