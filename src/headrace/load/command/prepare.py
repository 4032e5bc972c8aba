"""The target of a load: the server is asked what the model takes, and one request is tried."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from headrace.errors import SettingsError
from headrace.load import ask
from headrace.load.apis.contract import Inputs, Specs
from headrace.load.command.wanted import Wanted
from headrace.load.data import File, read_requests
from headrace.load.payload import APIS
from headrace.load.plan import Message, Protocol, Target
from headrace.load.synthetic import complete, given, make_requests
from headrace.values import DType

_FILES_PROTOCOL = "plain"
# They are encoded before the run and kept: more are a data set, not a load.
_MOST_REQUESTS = 4096


def prepare(wanted: Wanted) -> Target:
    """Make the target, and see that it answers.

    Raises:
        SettingsError: the server has no such model, or does not take such requests.
        StartError: nobody answers there.
    """
    api, address = APIS[wanted.protocol], wanted.address
    if address.prefix and api.protocol is Protocol.GRPC:
        raise SettingsError(f"gRPC has no path: end the URL after {address.authority}")
    messages, rows = _messages(wanted)
    target = Target(
        api.protocol,
        address.authority,
        address.prefix + api.path(wanted.model),
        messages,
        headers=wanted.headers,
        timeout_s=wanted.timeout_s,
        connections=wanted.connections,
        rows=rows,
    )
    ask.check(target, api)
    return target


def _messages(wanted: Wanted) -> tuple[tuple[Message, ...], int | None]:
    """Encode the requests, real ones or made up; say how many rows each has."""

    @cache
    def specs() -> Specs:
        return given(wanted.shapes) or ask.find_specs(
            APIS[wanted.protocol], wanted.address, wanted.model, wanted.headers
        )

    if wanted.data is None:
        whole = complete(specs(), wanted.shapes, wanted.rows)
        requests: list[Inputs | File] = [*make_requests(whole, wanted.seed)]
    else:
        requests = _first(read_requests(wanted.data, specs, wanted.rows))
    rows = _rows(requests, wanted, specs)
    api = APIS[wanted.protocol]
    try:
        encoded = tuple(
            _file(one, wanted, specs) if isinstance(one, File) else api.encode(wanted.model, one)
            for one in requests
        )
    except (ValueError, TypeError) as error:  # what a protocol cannot say: NaN, ragged rows
        raise SettingsError(f"a request cannot be sent as {wanted.protocol}: {error}") from error
    return encoded, rows


def _rows(
    requests: Sequence[Inputs | File], wanted: Wanted, specs: Callable[[], Specs]
) -> int | None:
    """How many rows each request has; None: they differ, are files, or the model takes no rows.

    Raises:
        SettingsError: not as many as ``--batch`` says; a scenario is not valid then.
    """
    arrays = [one for one in requests if not isinstance(one, File)]
    if arrays and not _takes_rows(wanted, specs):
        if wanted.rows != 1 and wanted.scenario is None:
            raise SettingsError(
                f"--batch {wanted.rows} cannot be had: the first dimension of the model's inputs "
                "is fixed, and so not one of rows; give no --batch"
            )
        return None
    found = {
        _rows_of(one, wanted.rows) for one in arrays if any(array.ndim for array in one.values())
    }
    other = next((rows for rows in found if rows != wanted.rows), None)
    if other is not None and wanted.rows != 1 and wanted.scenario is None:
        raise SettingsError(
            f"--batch {wanted.rows} cannot be had: there is a request of {other} "
            f"{'row' if other == 1 else 'rows'}, by --shape, "
            "--data or what the model takes; give others, or no --batch"
        )
    return found.pop() if len(found) == 1 else None


def _takes_rows(wanted: Wanted, specs: Callable[[], Specs]) -> bool:
    """Whether the first dimension is one of rows; of shapes that were given it is taken for one."""
    if given(wanted.shapes) is not None:
        return True
    return all(spec.shape[:1] in {(), (1,), (None,)} for spec in specs())


def _rows_of(inputs: Inputs, wanted: int) -> int:
    """How many rows a request has; a single value beside longer inputs is one for all of them."""
    arrays = [array for array in inputs.values() if array.ndim]
    lengths = {len(array) for array in arrays if array.shape != (1,)} or {1}
    return wanted if wanted in lengths else max(lengths)


def _first(requests: list[Inputs | File]) -> list[Inputs | File]:
    """Take as many as are sent in turn, and say so where there are more."""
    if len(requests) > _MOST_REQUESTS:
        sys.stderr.write(
            f"headrace: of the {len(requests):,} requests of --data the first {_MOST_REQUESTS:,} "
            "are sent, in turn\n"
        )
    return requests[:_MOST_REQUESTS]


def _file(file: File, wanted: Wanted, specs: Callable[[], Specs]) -> Message:
    """Send a file as it is: as the body of plain HTTP, elsewhere as the model's only string."""
    if wanted.protocol == _FILES_PROTOCOL:
        return Message(file.body, (("content-type", file.content_type),))
    takes = [spec for spec in specs() if spec.dtype is DType.BYTES]
    if len(takes) != 1:
        raise SettingsError(
            f"--data: the model {wanted.model!r} has no input that a file goes into as it is "
            f"({file.content_type}); send arrays (.npz, .npy, .json), or use --protocol plain"
        )
    one = np.empty(1, object)
    one[0] = file.body
    array = one.reshape((1,) * len(takes[0].shape))
    return APIS[wanted.protocol].encode(wanted.model, {takes[0].name: array})
