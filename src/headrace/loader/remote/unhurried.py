"""Looking up a name may hang; the end of the process does not wait for it.

fsspec's event loop does that in threads of a pool, and Python waits for those when it ends.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from fsspec.asyn import get_loop

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def let_go() -> None:
    """Have fsspec's loop use threads that nobody waits for."""
    get_loop().set_default_executor(_Threads())


class _Threads(ThreadPoolExecutor):
    """A thread for every call; an event loop takes no executor of another class."""

    def submit(
        self,
        fn: Callable[Arguments, Result],
        /,
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Future[Result]:
        """Call a function in a thread of its own."""
        future: Future[Result] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited
                future.set_exception(error)

        threading.Thread(target=run, name="headrace-lookup", daemon=True).start()
        return future
