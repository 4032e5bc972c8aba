"""What a model accepts besides tensors: each entry of its card, checked against its signature."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from headrace.accepts import AcceptedAudio, AcceptedImage, AcceptedInput, AcceptedText
from headrace.errors import InvalidInput, ModelLoadError
from headrace.media import audio, libraries, text
from headrace.values import Array, Signature, TensorSpec


class Medium(NamedTuple):
    """One kind of file that a model takes.

    ``name`` is what clients call it, ``feeds`` the model inputs that it gives. ``read`` decodes
    one file, for a thread; ``gather`` makes the rows of one request of what was read.
    """

    name: str
    kind: str
    feeds: tuple[str, ...]
    read: Callable[[bytes], Any]
    gather: Callable[[Sequence[Any]], Mapping[str, Array]]


def build(
    signature: Signature,
    accepts: Sequence[AcceptedInput],
    copies: Mapping[str, str] = MappingProxyType({}),
) -> tuple[Medium, ...]:
    """Make the readers of a model; the libraries they need are imported here.

    A tokenizer is read from its copy, where ``copies`` has one for its path.

    Raises:
        ModelLoadError: an entry does not fit the signature, or a tokenizer cannot be read.
        BackendMissing: a library is not installed.
    """
    media = tuple(_medium(signature, accepted, copies) for accepted in accepts)
    names = [medium.name for medium in media]
    fed = [name for medium in media for name in medium.feeds]
    for given in (names, fed):
        twice = next((name for name in given if given.count(name) > 1), None)
        if twice is not None:
            raise ModelLoadError(f"accepts: {twice!r} is given twice; keep one entry for it")
    for medium in media:
        if medium.name in fed and medium.name not in medium.feeds:
            raise ModelLoadError(
                f"accepts: {medium.name!r} is the name of another entry's input; choose another"
            )
    return media


def check_libraries(accepts: Sequence[AcceptedInput]) -> None:
    """Import the libraries that the readers of a card need, for which no signature is needed.

    Raises:
        BackendMissing: one is not installed.
    """
    for accepted in accepts:
        if not isinstance(accepted, AcceptedText) or accepted.tokenizer is not None:
            libraries.load(accepted.kind)


def _medium(signature: Signature, accepted: AcceptedInput, copies: Mapping[str, str]) -> Medium:
    if isinstance(accepted, AcceptedText):
        return _text(signature, accepted, copies)
    spec = find(signature, accepted.input)
    read = (
        _image(spec, accepted)
        if isinstance(accepted, AcceptedImage)
        else _audio(signature, spec, accepted)
    )
    axes = len(spec.shape)

    def gather(items: Sequence[Any]) -> Mapping[str, Array]:
        return {spec.name: stack(spec.name, items, axes)}

    return Medium(accepted.input, accepted.kind, (spec.name,), read, gather)


def _image(spec: TensorSpec, accepted: AcceptedImage) -> Callable[[bytes], Array]:
    libraries.load("image")  # first, for the module below imports it
    from headrace.media import image  # noqa: PLC0415 - only where a card needs it

    return image.reader(spec, accepted)


def _audio(
    signature: Signature, spec: TensorSpec, accepted: AcceptedAudio
) -> Callable[[bytes], Array]:
    return audio.reader(spec, accepted, batched=signature.batched)


def _text(signature: Signature, accepted: AcceptedText, copies: Mapping[str, str]) -> Medium:
    if accepted.tokenizer is None:
        spec = find(signature, accepted.input)
        text.check_bytes(spec, batched=signature.batched)

        def gather(items: Sequence[Any]) -> Mapping[str, Array]:
            return {spec.name: text.strings(spec, items, batched=signature.batched)}

        read_bytes = partial(text.read_bytes, name=accepted.input)
        return Medium(accepted.input, "text", (spec.name,), read_bytes, gather)
    named = str(accepted.tokenizer)
    tokens = text.tokens(signature, accepted, copies.get(named, named))
    return Medium(accepted.input, "text", tokens.inputs, tokens.read, tokens.gather)


def find(signature: Signature, name: str) -> TensorSpec:
    """Return the input that an entry names.

    Raises:
        ModelLoadError: there is none of that name.
    """
    spec = signature.input(name)
    if spec is None:
        names = ", ".join(one.name for one in signature.inputs)
        raise ModelLoadError(f"accepts: there is no input {name!r}; inputs: {names}")
    return spec


def stack(name: str, items: Sequence[Array], axes: int) -> Array:
    """Make one tensor of ``axes`` axes of what was read of the files of one request.

    Raises:
        InvalidInput: they differ in shape, or are several where there is no axis for them.
    """
    shapes = {item.shape for item in items}
    if len(shapes) > 1:
        raise InvalidInput(
            f"input {name!r}: the files of one request become tensors of different shapes "
            f"({' and '.join(str(list(shape)) for shape in sorted(shapes))}): send each by itself"
        )
    if items[0].ndim == axes:
        if len(items) > 1:
            raise InvalidInput(f"input {name!r} takes one file a request, not {len(items)}")
        return items[0]
    return np.stack(items)
