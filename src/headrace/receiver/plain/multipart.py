"""``multipart/form-data``: the fields of a body that is here already, within bounds."""

from __future__ import annotations

from typing import NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from headrace.errors import MalformedRequest

MOST_PARTS = 128
"""A form may have this many fields: each costs a little whatever its size."""

_DISPOSITION = b"content-disposition"


class Part(NamedTuple):
    """One field of a form."""

    name: str
    content: bytes


def boundary(content_type: bytes) -> bytes:
    """Return what separates the fields, from the content type.

    Raises:
        MalformedRequest: the content type does not say.
    """
    _, options = parse_options_header(content_type.decode("latin-1"))
    found = options.get(b"boundary", b"")
    if not found:
        raise MalformedRequest(
            "multipart/form-data without a boundary in its content type: let the client library "
            "set that header (with curl -F, give no content-type)"
        )
    return found


def parse(body: bytes | memoryview, separator: bytes) -> list[Part]:
    """Split a body into its fields, in order.

    Raises:
        MalformedRequest: it is broken or cut off, a field has no name, or there are too many.
    """
    form, data = _Form(), bytes(body)
    line = b"\r\n--" + separator
    # Before it is walked through: at each place that looks like one it goes on byte by byte.
    if data.count(line) > MOST_PARTS + 1:
        raise _too_many()
    if not data.startswith(line[2:]) and line in data:
        data = data[data.index(line) + 2 :]  # a preamble, which nobody reads (RFC 2046, 5.1.1)
    try:
        parser = MultipartParser(separator, form.callbacks())  # type: ignore[arg-type]
        parser.write(data)
        parser.finalize()
    except FormParserError as error:
        raise MalformedRequest(f"the multipart form is broken: {error}") from error
    if not form.ended:
        raise MalformedRequest("the multipart form is cut off: its last boundary is missing")
    return form.parts


def _too_many() -> MalformedRequest:
    return MalformedRequest(
        f"the multipart form has more than {MOST_PARTS} fields, or its boundary in a file: send "
        "fewer files at once, and let the client library choose the boundary"
    )


class _Form:
    """Collects what the parser calls out."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.ended = False
        self._headers: dict[bytes, bytes] = {}
        self._field = self._value = b""
        self._content: list[bytes] = []

    def callbacks(self) -> dict[str, object]:
        """What the parser calls, by its names."""
        return {
            "on_part_begin": self._begin,
            "on_header_begin": self._begin_header,
            "on_header_field": self._add_field,
            "on_header_value": self._add_value,
            "on_header_end": self._end_header,
            "on_part_data": self._add_content,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        if len(self.parts) == MOST_PARTS:
            raise _too_many()
        self._headers, self._content = {}, []

    def _begin_header(self) -> None:
        self._field = self._value = b""

    def _add_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._field.lower()] = self._value

    def _add_content(self, data: bytes, start: int, end: int) -> None:
        self._content.append(data[start:end])

    def _end_part(self) -> None:
        kind, options = parse_options_header(self._headers.get(_DISPOSITION, b"").decode("latin-1"))
        name = options.get(b"name")
        if kind != b"form-data" or name is None:
            raise MalformedRequest(
                f"field {len(self.parts) + 1} of the multipart form has no name: give it the name "
                "of an input"
            )
        self.parts.append(Part(name.decode("utf-8", "replace"), b"".join(self._content)))

    def _end(self) -> None:
        self.ended = True
