"""The scribe: a process that reads and writes large JSON bodies, beside the receiver.

The supervisor starts it when a receiver connects, with that connection as a descriptor, and ends
it by closing its standard input. It serves this receiver until it leaves, one body after the other.
"""

from __future__ import annotations

if __name__ == "__main__":
    import headrace.startup  # before all else

import contextlib
import faulthandler
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

import structlog

from headrace.engine_control import SignatureMessage
from headrace.errors import HeadraceError, InternalError
from headrace.observe.logs import configure
from headrace.outlets import open_outlets
from headrace.receiver.codecs.decoded import Dialect
from headrace.receiver.handover import messages as handover
from headrace.receiver.handover.messages import AnswerHead, Job, Task
from headrace.receiver.scribe.answer import encode
from headrace.receiver.scribe.body import decode
from headrace.receiver.scribe.lists import ListParser
from headrace.values import Signature

_NICE = 15
"""Further back than the engines: who sends megabytes waits rather than who sends little."""

# orjson reads 1024 levels, and what belongs to no input is written again by a parser of Python.
_DEPTH_LIMIT = 4096

Made = TypeVar("Made")

_log = structlog.get_logger("headrace.scribe")


def serve(channel: socket.socket) -> None:
    """Decode and encode bodies until the receiver leaves."""
    parser = ListParser()
    channel.send(handover.AWAKE.pack())
    while True:
        frame, descriptors, _, _ = socket.recv_fds(channel, handover.MAX_FRAME_BYTES, 1)
        if not frame or not descriptors:
            return
        descriptor = descriptors[0]
        try:
            job = Job.unpack(frame)
            what = os.pread(descriptor, job.size_bytes, 0)
            text = os.pread(descriptor, job.text_bytes, job.size_bytes)
            if job.task is Task.DECODE:
                body = _guarded(_decode, parser, what, job.dialect, text)
                answer = handover.write(descriptor, job.end, body)
            else:
                encoded = _guarded(_encode, what, job.dialect, text)
                answer = handover.write_answer(descriptor, job.end, encoded)
            channel.send(answer._replace(number=job.number).pack())
        finally:
            os.close(descriptor)


def _decode(parser: ListParser, body: bytes, dialect: Dialect, text: bytes) -> dict[str, Any]:
    return decode(parser, body, dialect, _signature(text))


def _encode(outputs: bytes, dialect: Dialect, text: bytes) -> bytes:
    head = AnswerHead.model_validate_json(text)
    return encode(dialect, head, handover.view_tensors(memoryview(outputs), head.outputs))


def _guarded(make: Callable[..., Made], *arguments: object) -> Made | HeadraceError:
    try:
        return make(*arguments)
    except HeadraceError as error:
        return error
    except Exception as error:  # noqa: BLE001 - the border of a body: only this one fails
        _log.error("body_failed", exc_info=error)
        return InternalError(f"a bug of the server: {type(error).__name__}: {error}")


@lru_cache(maxsize=256)
def _signature(text: bytes) -> Signature | None:
    return SignatureMessage.model_validate_json(text).unwrap() if text else None


def main() -> None:
    """Run the process: the descriptor of the connection, how to log."""
    open_outlets()
    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # when to stop is the supervisor's to say
    descriptor, level, form = sys.argv[1:4]
    configure(level, form)  # type: ignore[arg-type] # the supervisor's own settings
    os.nice(_NICE)
    sys.setrecursionlimit(_DEPTH_LIMIT)

    def wait_for_the_end() -> None:
        sys.stdin.buffer.read()
        os._exit(0)  # nobody waits for an answer any more

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    # An answer to a receiver that has gone is nobody's loss.
    with socket.socket(fileno=int(descriptor)) as channel, contextlib.suppress(ConnectionError):
        serve(channel)
    os._exit(0)  # a thread waits in standard input, at which an orderly end would stumble


if __name__ == "__main__":
    headrace.startup.imported()
    main()
