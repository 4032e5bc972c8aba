"""What a plain request brings for a model that accepts files: files and tensors, by name.

A body is one file, told by its content type, a form, or JSON with files in base64.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace.errors import BodyTooLarge, InvalidInput, MalformedRequest, UnsupportedEncoding
from headrace.media import Medium
from headrace.receiver.catalog import ServedModel
from headrace.receiver.codecs import json_tensor
from headrace.receiver.exchange import Headers
from headrace.receiver.plain import multipart
from headrace.values import Array, Signature

_FORM, _TEXT, _ANYTHING = "multipart/form-data", "text/plain", "application/octet-stream"
_FILES = ("image/", "audio/", "multipart/")
# By kind of medium: what a body's content type begins with, and one that does.
_BODIES = {
    "image": ("image/", "image/jpeg"),
    "audio": ("audio/", "audio/wav"),
    "text": (_TEXT, _TEXT),
}
_JSON, _OBJECT = "application/json", b"{"
# How far in JSON may begin, behind spaces.
_BEGINNING_BYTES = 64
_AS_THEY_ARE = ("image/", "audio/", _ANYTHING)
# Of JSON that is parsed here, in a thread that has Python's lock all the while: 0.2 s at worst,
# where 60 MB of brackets take 14 s. Files have none.
_MOST_VALUES = 2**18
_VALUES = (b",", b"[", b"{")
_WINDOW_BYTES = 2**18


@dataclass(frozen=True, slots=True)
class Upload:
    """Files by the name of what reads them, each a row; and inputs that came as tensors."""

    files: dict[str, list[bytes]] = field(default_factory=dict)
    tensors: dict[str, Array] = field(default_factory=dict)


def read(headers: Headers, body: bytes | memoryview, served: ServedModel) -> Upload | None:
    """Find the files of a request; None when it is plain JSON.

    Raises:
        UnsupportedEncoding: a file of a kind that this model does not take.
        MalformedRequest: a form or JSON that cannot be read.
        BodyTooLarge: JSON with files, or a field, that has too many values.
        InvalidInput: a field that this model does not have.
    """
    kind = _kind(headers)
    if not served.media:
        if kind.startswith(_FILES):
            raise UnsupportedEncoding(
                f"model {served.name!r} takes JSON and no {kind}: its card does not say `accepts`"
            )
        return None
    if kind == _FORM:
        return _form(headers[b"content-type"], body, served)
    medium = _told_by(kind, served)
    if medium is not None:
        _check_alone(medium, served)
        return Upload({medium.name: [bytes(body)]})
    if kind != _JSON and _is_no_json(body):
        raise MalformedRequest(
            f"a body of {kind or 'no content type'} is read as a JSON object, and this is none: "
            f"model {served.name!r} accepts {_accepted(served)}: send {_ways(served)}"
        )
    if not _may_have_files(body, served):
        return None  # not even parsed: the plain way does that beside the event loop
    return _json(body, served)


def _is_no_json(body: bytes | memoryview) -> bool:
    """Whether a body begins as no object, which all JSON here is: a file without its type."""
    beginning = bytes(body[:_BEGINNING_BYTES]).lstrip()
    return bool(beginning) and beginning[:1] != _OBJECT


def takes_long(headers: Headers, served: ServedModel) -> bool:
    """Whether a large body is more than one file as it is, or what is refused at once."""
    return bool(served.media) and not _kind(headers).startswith(_AS_THEY_ARE)


def _kind(headers: Headers) -> str:
    kind, _, _ = headers.get(b"content-type", b"").decode("latin-1").partition(";")
    return kind.strip().lower()


def _may_have_files(body: bytes | memoryview, served: ServedModel) -> bool:
    """Whether JSON can have files in it: text is any string, others say so."""
    text = bytes(body)
    said = b'"b64"' in text
    # By \\u the very key may be spelled.
    may = said or b"\\u" in text or any(medium.kind == "text" for medium in served.media)
    if not may or not _has_many_values(text):
        return may
    if said:
        raise BodyTooLarge(
            f"JSON with files has at most {_MOST_VALUES} other values: send fewer rows at a time, "
            "or all as tensors"
        )
    return False


def _has_many_values(text: bytes) -> bool:
    """Whether JSON has too many to be parsed here, in windows: others can go on in between.

    What stands in strings is none: text may be a table, or JSON itself.
    """
    count, at, inside = 0, 0, False
    while at < len(text):
        end = at + _WINDOW_BYTES
        while text[end - 1 : end] == b"\\":  # what it escapes is in the same window
            end += 1
        parts = text[at:end].replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
        outside = b"".join(parts[inside::2])
        count += sum(map(outside.count, _VALUES))
        if count > _MOST_VALUES:
            return True
        inside ^= len(parts) % 2 == 0
        at = end
    return False


def _told_by(kind: str, served: ServedModel) -> Medium | None:
    """The medium that a body of this content type is; None for JSON."""
    matching = [one for one in served.media if kind.startswith(_BODIES[one.kind][0])]
    if kind == _ANYTHING:
        matching = [one for one in served.media if one.kind != "text"]
    if len(matching) == 1:
        return matching[0]
    if not matching and not kind.startswith(_FILES):
        return None
    what = "which of its inputs that is does not follow" if matching else "it does not take that"
    raise UnsupportedEncoding(
        f"model {served.name!r} got a body of {kind}, and {what}; it accepts {_accepted(served)}: "
        f"send {_ways(served)}"
    )


def _accepted(served: ServedModel) -> str:
    return ", ".join(f"{one.name} ({one.kind})" for one in served.media)


def _ways(served: ServedModel) -> str:
    """How to send files, as curl has it: one alone by its content type, or a form."""
    fields = [f"-F {one.name}=@FILE" for one in served.media]
    fed = {name for one in served.media for name in one.feeds}
    fields += [f"-F {one.name}=JSON" for one in served.signature.inputs if one.name not in fed]
    form = f"multipart/form-data ({' '.join(fields)})"
    only = served.media[0]
    if len(served.media) > 1 or _missing(only, served):
        return form
    return f"it with its content type (-H 'content-type: {_BODIES[only.kind][1]}'), or {form}"


def _check_alone(medium: Medium, served: ServedModel) -> None:
    missing = _missing(medium, served)
    if missing:
        raise InvalidInput(
            f"model {served.name!r} takes {', '.join(missing)} too: send multipart/form-data with "
            f"a field for each, {medium.name} among them"
        )


def _missing(medium: Medium, served: ServedModel) -> list[str]:
    """The inputs that a file alone does not give."""
    return [spec.name for spec in served.signature.inputs if spec.name not in medium.feeds]


def _form(content_type: bytes, body: bytes | memoryview, served: ServedModel) -> Upload:
    media = {medium.name for medium in served.media}
    upload = Upload()
    signature = served.signature
    for part in multipart.parse(body, multipart.boundary(content_type)):
        if part.name in media:
            upload.files.setdefault(part.name, []).append(part.content)
        elif part.name in upload.tensors:
            raise MalformedRequest(f"field {part.name!r} is given twice")
        else:
            upload.tensors[part.name] = _field(part, signature, media)
    if not upload.files and not upload.tensors:
        raise MalformedRequest("the multipart form has no fields")
    return upload


def _field(part: multipart.Part, signature: Signature, media: Iterable[str]) -> Array:
    """A field that is no file: JSON."""
    _spec(part.name, signature, media)
    if _has_many_values(part.content):
        raise BodyTooLarge(
            f"field {part.name!r} has more than {_MOST_VALUES} values: send fewer rows at a "
            "time, or all as tensors"
        )
    wrapped = json_tensor.parse(b'{"value":' + part.content + b"}")
    if len(wrapped) > 1:
        raise MalformedRequest(f"field {part.name!r} must be one JSON value")
    return _tensor(part.name, wrapped["value"], signature, media)


def _json(body: bytes | memoryview, served: ServedModel) -> Upload | None:
    values = _columns(json_tensor.parse(body), served)
    media = {medium.name: medium for medium in served.media}
    found = {
        name: _files(name, value, media[name])
        for name, value in values.items()
        if name in media and _is_file(value, media[name])
    }
    if not found:
        return None
    count = sum(len(files) for files in found.values())
    if count > multipart.MOST_PARTS:
        raise InvalidInput(
            f"the request has {count} files: send at most {multipart.MOST_PARTS} at once"
        )
    signature = served.signature
    tensors = {
        name: _tensor(name, value, signature, media)
        for name, value in values.items()
        if name not in found
    }
    return Upload(found, tensors)


def _columns(body: Mapping[str, Any], served: ServedModel) -> dict[str, Any]:
    """The values of a JSON body by name; none where the plain way is better at saying why."""
    given = [key for key in ("input", "inputs", "instances") if key in body]
    if len(given) != 1:
        return {}
    value = body[given[0]]
    if given == ["instances"]:
        return _of_rows(value, served)
    if _named(value):
        return dict(value)
    return {_only(served): value} if len(served.media) == 1 else {}


def _of_rows(rows: Any, served: ServedModel) -> dict[str, Any]:
    if not isinstance(rows, list) or not rows:
        return {}
    if not _named(rows[0]):
        return {_only(served): rows} if len(served.media) == 1 else {}
    if any(not _named(row) or row.keys() != rows[0].keys() for row in rows):
        return {}
    return {name: [row[name] for row in rows] for name in rows[0]}


def _only(served: ServedModel) -> str:
    return served.media[0].name


def _named(value: Any) -> bool:
    return isinstance(value, dict) and list(value) != ["b64"]


def _is_file(value: Any, medium: Medium) -> bool:
    """Whether a JSON value is a file, or a list of files: the rows."""
    one = value[0] if isinstance(value, list) and value else value
    if isinstance(one, dict):
        return list(one) == ["b64"]
    return medium.kind == "text" and isinstance(one, str)


def _files(name: str, value: Any, medium: Medium) -> list[bytes]:
    values = value if isinstance(value, list) else [value]
    if len(values) > multipart.MOST_PARTS:
        raise InvalidInput(
            f"input {name!r} has {len(values)} files: send at most {multipart.MOST_PARTS} at once"
        )
    if not all(_is_file(one, medium) and not isinstance(one, list) for one in values):
        raise InvalidInput(f'input {name!r}: every row must be a file, as in {{"b64": "..."}}')
    return [json_tensor.to_bytes(name, one) for one in values]


def _tensor(name: str, value: Any, signature: Signature, media: Iterable[str]) -> Array:
    return json_tensor.to_tensor(name, value, _spec(name, signature, media).dtype)


def _spec(name: str, signature: Signature, media: Iterable[str]) -> Any:
    spec = signature.input(name)
    if spec is None:
        names = dict.fromkeys((*media, *(one.name for one in signature.inputs)))
        raise InvalidInput(f"unknown input {name!r}; the model has {', '.join(names)}")
    return spec
