"""A ModelInferRequest as clients write it is a head and then the raw tensors.

A template remembers the bytes of one request that are not tensors; for the next one of the same
length that has the same, comparing some forty bytes takes the place of parsing and checking.
"""

from __future__ import annotations

from typing import NamedTuple

from headrace.receiver.codecs import wire
from headrace.receiver.forms import FORM_BYTES, Form, make_form
from headrace.values import Request


class Template(NamedTuple):
    """A form, and the bytes between the tensors by which its requests are known."""

    form: Form
    fixed: tuple[tuple[slice, bytes], ...]

    def fits(self, body: bytes | memoryview) -> bool:
        """Whether a message of the template's length is of its form."""
        for where, expected in self.fixed:  # noqa: SIM110 - one frame less, on the hot path
            if body[where] != expected:
                return False
        return True

    def begins(self, part: memoryview) -> bool:
        """Whether a message of the template's length that begins like this may be of its form."""
        where, expected = self.fixed[0]
        return part[where] == expected


def make_template(
    body: bytes | memoryview, version: int | None, request: Request
) -> Template | None:
    """Make the template of a decoded request, or None when its form does not allow one."""
    view = memoryview(body)
    fields = [field for field in wire.fields(view) if field[0] == wire.RAW_INPUT_TAG]
    if len(fields) != len(request.inputs):
        return None  # typed contents: not worth a template
    if len(view) - sum(end - data for _, _, data, end in fields) > FORM_BYTES:
        return None  # a client may send anything beside its tensors, and it would stay
    starts = {name: data for name, (_, _, data, _) in zip(request.inputs, fields, strict=True)}
    form = make_form(request, version, starts)
    if form is None:
        return None
    fixed: list[tuple[slice, bytes]] = []
    at = 0
    for _, _, data, end in fields:
        fixed.append((slice(at, data), bytes(view[at:data])))
        at = end
    fixed.append((slice(at, len(view)), bytes(view[at:])))
    return Template(form, tuple(fixed))
