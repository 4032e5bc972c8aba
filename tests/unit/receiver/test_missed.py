"""What could not be taken in is tried again, later each time, until something newer is known."""

from __future__ import annotations

import errno
import os

from headrace.control import ModelServing
from headrace.errors import ModelLoadError
from headrace.receiver.missed import Missed, may_pass
from headrace.settings import ModelSettings
from headrace.values import DType, Signature, TensorSpec
from tests.profiles import plain

SIGNATURE = Signature((TensorSpec("x", DType.FP32, (None, 1)),), (), batched=True)


def _serving(name: str, path: str) -> ModelServing:
    return ModelServing(
        name=name,
        version=1,
        socket_path=path,
        settings=ModelSettings(),
        profile=plain(SIGNATURE, instances=1),
    )


def test_what_a_process_lacks_for_a_while_may_pass() -> None:
    assert may_pass(OSError(errno.EMFILE, os.strerror(errno.EMFILE)))
    assert may_pass(ModelLoadError("cannot read t.json: Too many open files (os error 24)"))
    assert not may_pass(ModelLoadError("cannot read t.json: No such file or directory"))


def test_the_newest_of_a_version_is_tried_at_once_and_then_ever_later() -> None:
    missed = Missed()
    assert missed.wait_s(0.0) is None
    missed.note(_serving("m", "old"), 0.0)
    missed.note(_serving("m", "new"), 0.0)
    assert missed.wait_s(0.25) == 0.25
    assert [message.socket_path for message in missed.take()] == ["new"]
    assert missed.wait_s(0.5) is None
    for at_s, wait_s in ((1.0, 1.0), (2.0, 2.0), (4.0, 2.0)):
        missed.note(_serving("m", "new"), at_s)
        assert missed.wait_s(at_s) == wait_s


def test_a_version_that_has_moved_or_ended_is_not_tried() -> None:
    missed = Missed()
    missed.note(_serving("m", "s"), 0.0)
    missed.note(_serving("other", "s"), 0.0)
    missed.forget("m", 1)
    missed.forget("unknown", 1)
    assert [message.name for message in missed.take()] == ["other"]
