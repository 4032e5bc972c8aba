"""Text to tokens, or to an input of BYTES."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from headrace.accepts import AcceptedText
from headrace.errors import BodyTooLarge, InvalidInput, ModelLoadError
from headrace.media import libraries
from headrace.values import Array, DType, Signature, TensorSpec

# Longer text would keep a thread busy for seconds, and is cut to a few hundred tokens anyway.
_LIMIT_BYTES = 2**20
# What the texts of one request may become.
_MOST_BYTES = 256 * 2**20
_TOKEN_DTYPES = frozenset({DType.INT32, DType.INT64})
_AXES = 2
# What tokenizers of different makers call what short texts are filled up with.
_PADS = ("[PAD]", "<pad>", "<|pad|>", "<PAD>")
_USUAL = {"ids": "input_ids", "mask": "attention_mask", "types": "token_type_ids"}


class Encoded(NamedTuple):
    """The tokens of one text."""

    ids: Array
    mask: Array
    types: Array

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""
        return self.ids.nbytes + self.mask.nbytes + self.types.nbytes


class Padding(NamedTuple):
    """What the tokenizer's file says short texts are filled up with, where, and to what.

    ``most`` is to how many tokens texts are cut; None: to none.
    """

    id: int
    type: int
    left: bool
    multiple: int
    most: int | None

    def value(self, part: str) -> int:
        """Return what fills the ids, the mask or the types."""
        return {"ids": self.id, "types": self.type}.get(part, 0)

    def length(self, longest: int) -> int:
        """Return how long the rows are where the model leaves it open."""
        rounded = -(-longest // self.multiple) * self.multiple
        return rounded if self.most is None else max(longest, min(rounded, self.most))


def read_bytes(data: bytes, name: str) -> bytes:
    """Check a text that goes to the model as it is; ``name`` is what clients call the input.

    Raises:
        InvalidInput: it is not UTF-8.
    """
    _decode(data, name)
    return data


def check_bytes(spec: TensorSpec, *, batched: bool) -> None:
    """Check that an input takes text as it is.

    Raises:
        ModelLoadError: it takes something else; the message names the key.
    """
    here = f"accepts: text of input {spec.name!r}"
    if spec.dtype is not DType.BYTES:
        raise ModelLoadError(f"{here}: the input is {spec.dtype.value}, not BYTES; set `tokenizer`")
    if any(dim not in {1, None} and isinstance(dim, int) for dim in spec.shape[batched:]):
        raise ModelLoadError(
            f"{here}: the input has shape {list(spec.wire_shape)}; it takes several texts a row, "
            "which only JSON can give it"
        )


def strings(spec: TensorSpec, items: Sequence[bytes], *, batched: bool) -> Array:
    """Make one tensor of the texts of one request.

    Raises:
        InvalidInput: there are several, and the model takes one a request.
    """
    axes = len(spec.shape)
    if len(items) > 1 and not (batched or axes):
        raise InvalidInput(f"input {spec.name!r} takes one text a request, not {len(items)}")
    array = np.empty(len(items), object)
    array[:] = items
    return array.reshape((-1, *(1,) * (axes - 1)) if axes else ())


@dataclass(frozen=True, slots=True)
class Tokens:
    """A tokenizer and the inputs it feeds; ``length`` is the model's, where it is fixed."""

    name: str
    tokenizer: Any
    inputs: tuple[str, ...]
    parts: tuple[str, ...]
    dtypes: tuple[DType, ...]
    padding: Padding
    length: int | None
    row_axis: bool

    def read(self, data: bytes) -> Encoded:
        """Tokenize one text; Python's lock is free meanwhile.

        Raises:
            InvalidInput: it is not UTF-8, or nothing is left of it.
            BodyTooLarge: it is longer than a megabyte.
        """
        # `encode` would keep Python's lock: one of a batch does not.
        [found] = self.tokenizer.encode_batch([_decode(data, self.name)])
        parts = (found.ids, found.attention_mask, found.type_ids)
        encoded = Encoded(*(np.array(part, np.int64) for part in parts))
        if not encoded.ids.size:
            raise InvalidInput(f"{self.name!r}: the text has no tokens")
        return encoded

    def gather(self, items: Sequence[Encoded]) -> Mapping[str, Array]:
        """Make one tensor an input of the texts of one request, padded to the longest.

        Raises:
            InvalidInput: there are several, and the model takes one a request.
            BodyTooLarge: padding the others to the longest makes too much of them.
        """
        if len(items) > 1 and not self.row_axis:
            raise InvalidInput(f"{self.name!r} takes one text a request, not {len(items)}")
        length = self.length or self.padding.length(max(len(item.ids) for item in items))
        size_bytes = len(items) * length * sum(dtype.numpy.itemsize for dtype in self.dtypes)
        if size_bytes > _MOST_BYTES:
            raise BodyTooLarge(
                f"{self.name!r}: {len(items)} texts of {length} tokens, as long as the longest, "
                f"are more than {_MOST_BYTES >> 20} MiB: send fewer at once, or shorter ones"
            )
        tensors = {}
        for name, part, dtype in zip(self.inputs, self.parts, self.dtypes, strict=True):
            rows = np.full((len(items), length), self.padding.value(part), dtype.numpy)
            for row, item in zip(rows, items, strict=True):
                values = getattr(item, part)
                start = length - len(values) if self.padding.left else 0
                row[start : start + len(values)] = values
            tensors[name] = rows if self.row_axis else rows[0]
        return tensors


def tokens(signature: Signature, accepted: AcceptedText, file: str) -> Tokens:
    """Read the tokenizer of an entry from a file and settle which inputs it feeds.

    Raises:
        ModelLoadError: it cannot be read, or the entry does not fit the signature.
        BackendMissing: tokenizers is not installed.
    """
    library = libraries.load("text")
    specs = _inputs(signature, accepted)
    tokenizer = _load(library, accepted, file)
    lengths = {spec.shape[-1] for spec in specs.values() if isinstance(spec.shape[-1], int)}
    length = min((int(one) for one in lengths if isinstance(one, int)), default=None)
    padding, cutting = tokenizer.padding or {}, tokenizer.truncation or {}
    tokenizer.no_padding()
    most = accepted.max_tokens or length or cutting.get("max_length")
    if most is None:
        tokenizer.no_truncation()
    else:
        most = most if length is None else min(most, length)
        _cut(tokenizer, most, cutting, accepted)
    return Tokens(
        name=accepted.input,
        tokenizer=tokenizer,
        inputs=tuple(spec.name for spec in specs.values()),
        parts=tuple(specs),
        dtypes=tuple(spec.dtype for spec in specs.values()),
        padding=Padding(
            id=int(padding.get("pad_id", _pad_id(tokenizer))),
            type=int(padding.get("pad_type_id", 0)),
            left=padding.get("direction") == "left",
            multiple=int(padding.get("pad_to_multiple_of") or 1),
            most=most,
        ),
        length=length,
        row_axis=len(next(iter(specs.values())).shape) == _AXES,
    )


def _pad_id(tokenizer: Any) -> int:
    """What fills short texts up where the file does not say so; 0 may be a word."""
    ids = (tokenizer.token_to_id(name) for name in _PADS)
    return next((number for number in ids if number is not None), 0)


def _cut(tokenizer: Any, most: int, cutting: Mapping[str, Any], accepted: AcceptedText) -> None:
    """Cut longer text to so many tokens, on the side that the tokenizer's file says."""
    marks = tokenizer.num_special_tokens_to_add(is_pair=False)
    if most <= marks:
        raise ModelLoadError(
            f"accepts: text {accepted.input!r}: {most} tokens are no more than the {marks} that "
            "the tokenizer puts around every text; raise `max_tokens`, or the model's length"
        )
    # Not its stride, for what is cut off is never read; nor its strategy, which is for pairs.
    tokenizer.enable_truncation(most, direction=cutting.get("direction", "right"))


def _inputs(signature: Signature, accepted: AcceptedText) -> dict[str, TensorSpec]:
    """The inputs that are there; those of the usual names may be missing."""
    named = {"ids": accepted.ids, "mask": accepted.mask, "types": accepted.types}
    found = {}
    for part, name in named.items():
        spec = signature.input(name or _USUAL[part])
        here = f"accepts: text {accepted.input!r}: `{part}`"
        if spec is None and name is None:
            continue
        if spec is None:
            names = ", ".join(one.name for one in signature.inputs)
            raise ModelLoadError(f"{here}: there is no input {name!r}; inputs: {names}")
        if spec.dtype not in _TOKEN_DTYPES or len(spec.shape) not in {1, _AXES}:
            raise ModelLoadError(
                f"{here}: input {spec.name!r} is {spec.dtype.value} {list(spec.wire_shape)}; "
                "tokens are INT64 or INT32 of rows and tokens"
            )
        found[part] = spec
    if len({len(spec.shape) for spec in found.values()}) > 1:
        raise ModelLoadError(f"accepts: text {accepted.input!r}: its inputs differ in their axes")
    return found


def _load(library: Any, accepted: AcceptedText, file: str) -> Any:
    try:
        return library.Tokenizer.from_file(file)
    except Exception as error:
        raise ModelLoadError(
            f"accepts: tokenizer {accepted.tokenizer}: cannot be read: {error}; it should be a "
            "tokenizer.json of Hugging Face's tokenizers"
        ) from error


def _decode(data: bytes, name: str) -> str:
    if len(data) > _LIMIT_BYTES:
        raise BodyTooLarge(f"{name!r}: the text is longer than {_LIMIT_BYTES} bytes: send less")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"{name!r}: the text is not UTF-8 (byte {error.start}): encode it so"
        ) from error
