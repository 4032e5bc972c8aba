"""A request made by hand, and what is shown of its answer: pure."""

from __future__ import annotations

import base64
import heapq
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from headrace.errors import InvalidInput, MalformedAnswer

TEXT = "text"
_KINDS = ("image", "audio", TEXT)

# What top_k answers with: the value, the index, and the label where the class has one.
_CLASS = re.compile(r"(?P<value>[^:]+):(?P<index>\d+)(?::(?P<label>.*))?", re.DOTALL)
_TIMED = re.compile(r"(\w+);dur=([0-9.]+)")
_MOST_BARS, _MOST_ROWS = 10, 4
# Of rows of more numbers than can be read the largest are shown.
_READABLE, _LARGEST = 16, 5
# Of one row, or of several: with more axes it is rather a picture than a choice.
_FLAT_AXES = 2
_LONGEST_TEXT = 4000
# The largest vocabularies have some 260,000; what is longer is a sound or a picture.
_MOST_CLASSES = 300_000
# Shares that sum to 1 but for rounding, in 16 bits too.
_NEAR_ONE = 0.01


class Tensor(NamedTuple):
    """An input or an output; -1 is an axis of any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Tensor:
        """One of a description."""
        return cls(said["name"], said["datatype"], tuple(said["shape"]))

    @property
    def form(self) -> str:
        """Its datatype and shape, for people."""
        sizes = ", ".join("any" if size < 0 else str(size) for size in self.shape)
        return f"{self.datatype} [{sizes}]"


class File(NamedTuple):
    """What the model takes as a file: ``kind`` is image, audio or text.

    It gives the inputs that it ``feeds``.
    """

    name: str
    kind: str
    feeds: tuple[str, ...]

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> File:
        """One of a description.

        Raises:
            MalformedAnswer: it is of a kind that has no field here.
        """
        if said["kind"] not in _KINDS:
            raise MalformedAnswer(
                f"the server has a model that takes a file of kind {said['kind']!r}, which this "
                "dashboard does not know: use one of the server's version"
            )
        return cls(said["name"], said["kind"], tuple(said.get("feeds", [said["name"]])))


@dataclass(frozen=True, slots=True)
class Described:
    """What a model takes and gives; ``rest`` is an example of the inputs that are no files.

    ``classes`` are the outputs whose text is of classes; None where an older server does not say.
    """

    name: str
    version: int
    backend: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    files: tuple[File, ...]
    example: Any
    classes: frozenset[str] | None = None

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Described:
        """One of ``x-headrace-models`` in the server's description of itself.

        Raises:
            MalformedAnswer: it takes a file of a kind that is not known here.
        """
        return cls(
            said["name"],
            said["version"],
            said["backend"],
            tuple(Tensor.read(one) for one in said["inputs"]),
            tuple(Tensor.read(one) for one in said["outputs"]),
            tuple(File.read(one) for one in said["files"]),
            said["example"],
            frozenset(said["classes"]) if "classes" in said else None,
        )

    def may_have_classes(self, output: str) -> bool:
        """Whether text of an output that looks as classes do is of classes."""
        return self.classes is None or output in self.classes

    @property
    def others(self) -> list[str]:
        """The inputs that no file gives."""
        fed = {name for file in self.files for name in file.feeds}
        return [one.name for one in self.inputs if one.name not in fed]

    @property
    def rest(self) -> Any:
        """An example of what is asked besides files; None where that is nothing."""
        given = None if self.example is None else self.example.get("input")
        names = {one.name for one in self.files}
        if not names:
            return given
        if not isinstance(given, dict):
            return None
        return {name: value for name, value in given.items() if name not in names} or None


def body(
    model: Described, texts: Mapping[str, str], files: Mapping[str, bytes], rest: str
) -> dict[str, Any]:
    """Make the body: files in base64, texts as they are, and the rest, which was written as JSON.

    Raises:
        InvalidInput: the rest is no JSON, or a file is missing.
    """
    given: dict[str, Any] = {name: text for name, text in texts.items() if text}
    given |= {name: {"b64": base64.b64encode(content).decode()} for name, content in files.items()}
    more = _parsed(rest)
    if not model.files:
        if more is None:
            raise InvalidInput("write the inputs as JSON first")
        return dict(more) if _is_body(model, more) else {"input": more}
    missing = [one.kind for one in model.files if one.name not in given]
    if missing:
        raise InvalidInput(f"give {_article(missing[0])} first")
    if more is not None and not isinstance(more, dict):
        raise InvalidInput("write the other inputs as a JSON object, each by its name")
    return {"inputs": {**(more or {}), **given}}


def _is_body(model: Described, given: Any) -> bool:
    """Whether it is a whole body already, and not the inputs by their names, which may be these."""
    if not isinstance(given, dict) or not {"input", "inputs", "instances"} & given.keys():
        return False
    wraps = len(given) == 1 and isinstance(next(iter(given.values())), dict)
    return wraps or not given.keys() <= {one.name for one in model.inputs}


def _article(kind: str) -> str:
    return {"image": "an image", "audio": "a sound file", TEXT: "some text"}.get(kind, kind)


def _parsed(text: str) -> Any:
    if not text.strip():
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"this is no JSON: {error}") from error


class Bar(NamedTuple):
    """A class and its value; ``share`` is of the largest there is, for the length of a bar."""

    label: str
    value: float
    share: float


@dataclass(frozen=True, slots=True)
class Shown:
    """An output: a set of bars for each of the first rows, where it is of classes; else text."""

    name: str
    form: str
    rows: tuple[tuple[Bar, ...], ...]
    text: str


def shown(model: Described, answer: Any) -> list[Shown]:
    """What is shown of the answer of ``/predict``."""
    output = answer.get("output") if isinstance(answer, dict) else None
    if len(model.outputs) == 1:
        output = {model.outputs[0].name: output}
    if not isinstance(output, dict):
        return [Shown("answer", "", (), _text(answer))]
    kinds = {one.name: one.datatype for one in model.outputs}
    return [
        _shown(name, kinds.get(name, ""), value, classes=model.may_have_classes(name))
        for name, value in output.items()
    ]


def _shown(name: str, datatype: str, value: Any, *, classes: bool) -> Shown:
    shape = _shape(value)
    flat = len(shape) <= _FLAT_AXES
    first = islice(_rows(value, len(shape)), _MOST_ROWS)
    rows = tuple(bars for row in first if (bars := _bars(row, flat=flat, classes=classes)))
    form = f"{datatype} [{', '.join(map(str, shape))}]"
    return Shown(name, form, rows, _text(value))


def _text(value: Any) -> str:
    """Text as it is, one row a line; all else as JSON. No more is written than is shown."""
    flat = value if isinstance(value, list) else [value]
    if flat and all(isinstance(one, str) for one in flat):
        return _cut("\n".join(flat))
    pieces = json.JSONEncoder(ensure_ascii=False).iterencode(value)
    text = _beginning(pieces)
    return text if next(pieces, None) is None else f"{text[:_LONGEST_TEXT]} … many characters more"


def _beginning(pieces: Iterable[str]) -> str:
    """As many of them as are more than is shown, or all."""
    found, length = [], 0
    for piece in pieces:
        found.append(piece)
        length += len(piece)
        if length > _LONGEST_TEXT:
            break
    return "".join(found)


def _cut(text: str) -> str:
    more = len(text) - _LONGEST_TEXT
    return text if more <= 0 else f"{text[:_LONGEST_TEXT]} … {more:,} characters more"


def _shape(value: Any) -> list[int]:
    sizes = []
    while isinstance(value, list):
        sizes.append(len(value))
        value = value[0] if value else None
    return sizes


def _rows(value: Any, axes: int) -> Iterator[Sequence[Any]]:
    """The innermost lists."""
    if axes == 1:
        yield value
    elif axes > 1:
        for part in value:
            yield from _rows(part, axes - 1)


def _bars(row: Sequence[Any], *, flat: bool, classes: bool) -> tuple[Bar, ...]:
    """The best classes of a row; () where it is of something else. What is not finite has none."""
    if len(row) > _MOST_CLASSES:
        return ()
    if _are_shares(row):
        named = _ordered(row, "class", _MOST_BARS)
    elif flat and len(row) > _READABLE and all(_is_number(one) for one in row):
        named = _ordered(row, "index", _LARGEST)
    elif classes and all(isinstance(one, str) for one in row):
        found = [_class(one) for one in row]
        if None in found:
            return ()
        named = [one for one in found if one is not None and math.isfinite(one[1])]
    else:
        return ()
    most = max((abs(value) for _, value in named), default=0.0) or 1.0
    return tuple(Bar(label, value, max(value, 0.0) / most) for label, value in named[:_MOST_BARS])


def _ordered(row: Sequence[float], what: str, most: int) -> list[tuple[str, float]]:
    """The largest values with their places, largest first."""
    finite = ((float(one), -place) for place, one in enumerate(row) if _is_finite(one))
    return [(f"{what} {-place}", one) for one, place in heapq.nlargest(most, finite)]


def _is_finite(value: float) -> bool:
    """Whether it is a number that can be drawn; JSON has whole numbers of any length."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _class(text: str) -> tuple[str, float] | None:
    match = _CLASS.fullmatch(text)
    if match is None:
        return None
    try:
        value = float(match["value"])
    except ValueError:
        return None
    return match["label"] or f"class {match['index']}", value


def _are_shares(row: Sequence[Any]) -> bool:
    """Whether these are probabilities of classes."""
    if len(row) < 2:  # noqa: PLR2004 - one class is no choice
        return False
    return (
        all(isinstance(one, float) and 0 <= one <= 1 for one in row)
        and abs(sum(row) - 1) < _NEAR_ONE
    )


def timings_s(header: str) -> dict[str, float]:
    """Read a ``Server-Timing`` header: seconds by phase."""
    return {name: float(ms) / 1e3 for name, ms in _TIMED.findall(header)}
