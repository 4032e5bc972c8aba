"""What is wrong with settings, in words: where, which key, what value, and what is allowed."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from inspect import isclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from headrace.documents import Key, dotted
from headrace.group import Group
from headrace.urls import Url

# A value longer than this is cut in messages: the key and the line say enough.
_SHOWN = 60
# How like a known name one must be to be taken for it: `prot` is 0.75 like `port`.
_ALIKE = 0.75
_QUOTES = "; put it in quotes"
_PLAIN: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    Path: "a path",
    Url: "a URL",
    type(None): "null",
}


class Place(NamedTuple):
    """What may stand at a key: the annotation and the bounds pydantic keeps beside it."""

    annotation: Any
    metadata: tuple[Any, ...] = ()

    @property
    def allowed(self) -> str:
        """The values allowed here, as a noun phrase: ``a whole number from 0 to 65535``."""
        return _allowed(self.annotation, self.metadata)

    @property
    def takes_many(self) -> bool:
        """Whether a list or a mapping may stand here."""
        return any(
            get_origin(option) in (tuple, dict) or _is_group(option)
            for option, _ in _options(self.annotation)
        )

    @property
    def takes_text(self) -> bool:
        """Whether plain text may stand here, or words with commas between them."""
        return self.takes_words or any(
            option in (str, Path, Url) or (_is_group(option) and option.may_be_text)
            for option, _ in _options(self.annotation)
        )

    @property
    def takes_words(self) -> bool:
        """Whether this is a list of text and nothing else."""
        return get_origin(self.annotation) is tuple and get_args(self.annotation)[0] is str

    @property
    def takes_null(self) -> bool:
        """Whether null may stand here."""
        return any(option is type(None) for option, _ in _options(self.annotation))


def place(field: FieldInfo) -> Place:
    """What may stand in a field."""
    return Place(field.annotation, tuple(field.metadata))


def explain(
    error: ValidationError, model: type[BaseModel], data: Any, origins: Mapping[Key, str]
) -> list[str]:
    """Say each problem of a failed validation in one line, once a key, in the order written.

    Of a key in which another is wrong nothing is said.

    ``data`` is what was validated as ``model``; ``origins`` where its keys were written.
    """
    lines: dict[Key, str] = {}
    for detail in error.errors(include_url=False):
        key = _key(detail, data)
        lines.setdefault(key, located(key, _words(detail, key, model), origins))
    around = {key[:length] for key in lines for length in range(len(key))}
    written = {key: number for number, key in enumerate(origins)}
    told = [key for key in lines if key not in around]
    return [lines[key] for key in sorted(told, key=lambda key: written.get(key, len(written)))]


def located(key: Key, words: str, origins: Mapping[Key, str]) -> str:
    """Put the place of a key, or of the nearest key around it, before a message about it."""
    for length in range(len(key), 0, -1):
        origin = origins.get(key[:length])
        if origin is not None:
            return f"{origin}: {dotted(key)}: {words}"
    source = next(iter(origins.values()), "").rpartition(":")[0]
    parts = (source, dotted(key), words)
    return ": ".join(part for part in parts if part)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean `port`?``, or the list of what there is, or nothing."""
    names = list(known)
    close = nearest(name, names)
    if close is not None:
        return f"; did you mean `{close}`?"
    return f"; known here: {', '.join(names)}" if names else ""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is so like this one that it was meant; None: there is none."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=_ALIKE)
    return close[0] if close else None


def _key(detail: ErrorDetails, data: Any) -> Key:
    """The key an error is about: its location without the names of union branches."""
    key: list[str | int] = []
    value = data
    location = detail["loc"]
    for part in location:
        inside = _has(value, part)
        if inside:
            value = value[part]
        if inside or (detail["type"] == "missing" and part is location[-1]):
            key.append(part)
    return tuple(key)


def _has(value: Any, part: str | int) -> bool:
    if isinstance(value, (list, tuple)):
        return isinstance(part, int) and part < len(value)
    return isinstance(value, Mapping) and part in value


def _words(detail: ErrorDetails, key: Key, model: type[BaseModel]) -> str:
    kind = detail["type"]
    if kind in {"extra_forbidden", "invalid_key"}:
        return _unknown(str(key[-1]), _group(model, key[:-1], detail["loc"]))
    if kind in {"missing", "union_tag_invalid", "union_tag_not_found"}:
        return _missing(detail, key, model)
    if detail["loc"][-1:] == ("[key]",):
        hint = _QUOTES if kind == "string_type" else ""
        return f"the key {shown(detail['input'])} {_plain(detail)}{hint}"
    if kind == "value_error":
        return f"{shown(detail['input'])} {detail['ctx']['error']}"
    found = _find(model, key)
    if found is None:
        return f"{shown(detail['input'])} {_plain(detail)}"
    is_text = not isinstance(detail["input"], (int, float))
    hint = "" if is_text or kind not in {"string_type", "path_type"} else _QUOTES
    return f"{shown(detail['input'])} should be {found.allowed}{hint}"


def _missing(detail: ErrorDetails, key: Key, model: type[BaseModel]) -> str:
    """Something must be given: the key itself, or what tells of which kind its group is."""
    found = _find(model, key)
    if detail["type"] == "missing" or found is None:
        return "must be given"
    kinds = [
        str(get_args(option.model_fields["kind"].annotation)[0])
        for option, _ in _options(found.annotation)
    ]
    return f"`kind` should be one of {', '.join(kinds)}"


def _plain(detail: ErrorDetails) -> str:
    return detail["msg"].removeprefix("Input ")


def shown(value: Any) -> str:
    """A value as it may stand in a message, cut when long."""
    text = "null" if value is None else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _unknown(name: str, group: type[BaseModel] | None) -> str:
    if group is None:
        return "unknown key"
    for field_name, field in group.model_fields.items():
        inner = _model(field.annotation)
        if inner is not None and name in inner.model_fields:
            return f"unknown key here; it belongs under `{field_name}`"
    return f"unknown key{did_you_mean(name, group.model_fields)}"


def _group(
    model: type[BaseModel], key: Key, tags: Iterable[str | int] = ()
) -> type[BaseModel] | None:
    found = _find(model, key)
    return None if found is None else _model(found.annotation, tags)


def _model(annotation: Any, tags: Iterable[str | int] = ()) -> type[BaseModel] | None:
    """The group inside an annotation: itself, or what a tuple of groups holds.

    Of several, the one whose ``kind`` is among ``tags``, else the first.
    """
    options = [option for option, _ in _options(annotation)]
    groups = [one for one in options if isclass(one) and issubclass(one, BaseModel)]
    for group in groups:
        kind = group.model_fields.get("kind")
        if kind is not None and set(get_args(kind.annotation)) & set(tags):
            return group
    for option in groups or options:
        if option in groups:
            return option
        if get_origin(option) is tuple:
            return _model(get_args(option)[0])
    return None


def _is_group(option: Any) -> bool:
    return isclass(option) and issubclass(option, Group)


def _find(model: type[BaseModel], key: Key) -> Place | None:
    here = Place(model)
    for part in key:
        inner = next(_steps(here.annotation, part), None)
        if inner is None:
            return None
        here = inner
    return here


def _steps(annotation: Any, part: str | int) -> Iterator[Place]:
    for option, _ in _options(annotation):
        origin = get_origin(option)
        if origin is tuple and isinstance(part, int):
            yield Place(get_args(option)[0])
        elif origin is dict:
            yield Place(get_args(option)[1])
        elif isclass(option) and issubclass(option, BaseModel) and part in option.model_fields:
            yield place(option.model_fields[str(part)])


def _options(
    annotation: Any, metadata: tuple[Any, ...] = ()
) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """The alternatives of an annotation, each with its bounds."""
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        for option in get_args(annotation):
            yield from _options(option, metadata)
    elif origin is Annotated:
        inner, *more = get_args(annotation)
        bounds = [b for m in more for b in (m.metadata if isinstance(m, FieldInfo) else [m])]
        yield from _options(inner, (*metadata, *bounds))
    else:
        yield annotation, metadata


def _allowed(annotation: Any, metadata: tuple[Any, ...]) -> str:
    phrases = (_phrase(*option) for option in _options(annotation, metadata))
    return " or ".join(dict.fromkeys(phrases))


def _phrase(option: Any, metadata: tuple[Any, ...]) -> str:
    origin, arguments = get_origin(option), get_args(option)
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin is tuple:
        return f"a list, each {_allowed(arguments[0], ())}"
    if origin is dict:
        keys, values = (_allowed(argument, ()) for argument in arguments)
        return f"a mapping of {keys} to {values}"
    if isclass(option) and issubclass(option, Enum):
        return f"one of {', '.join(str(member.value) for member in option)}"
    if isclass(option) and issubclass(option, BaseModel):
        return "keys and values"
    return _PLAIN.get(option, str(option)) + _bounds(metadata)


def _bounds(metadata: tuple[Any, ...]) -> str:
    found = {
        name: getattr(bound, name)
        for bound in metadata
        for name in ("ge", "gt", "le", "lt")
        if getattr(bound, name, None) is not None
    }
    upper = {1: "at most"}.get(len(found), "to" if "ge" in found else "and at most")
    words = {"ge": "from", "gt": "above", "le": upper, "lt": "and below"}
    return "".join(f" {words[name]} {value}" for name, value in found.items())
