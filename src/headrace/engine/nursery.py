"""The process that engines are forked from: it has imported what an engine imports.

Interpreter and libraries take an engine half a second of processor time to come up, and 40 MB that
are the same in each. A fork has both at once: the kernel copies a page when somebody writes to it.

Standard input is a socket to the supervisor, see ``births``; when that ends, so does this. Engines
go on. It never runs two threads, whose locks a fork would copy as they are held: where a library
starts some, it refuses, and the supervisor starts engines itself.
"""

from __future__ import annotations

if __name__ == "__main__":
    import headrace.startup  # before all else

import contextlib
import errno
import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable, Sequence

from setproctitle import setproctitle

from headrace.births import NAME_BYTES, Born, Ended, NotBorn, Report, end_group, pack
from headrace.engine import backends, worker
from headrace.priority import tasks

# So long nobody has wanted an engine: there is time for a library that few models are run with.
_QUIET_S = 1.0


class Nursery:
    """Has engines, and tells of them: ``serve`` returns in each.

    ``prepare`` is called when there is time, until it says that nothing is left.
    """

    def __init__(self, supervisor: socket.socket, prepare: Callable[[], bool]) -> None:
        self._supervisor = supervisor
        self._prepare = prepare
        self._ready = False
        self._events = selectors.DefaultSelector()
        self._events.register(supervisor, selectors.EVENT_READ)
        self._engines: dict[int, int] = {}  # process ids by the descriptors of the processes

    def serve(self) -> str | None:
        """Fork engines until the supervisor has gone; in an engine, return what it is called."""
        while True:
            events = self._events.select(None if self._ready else _QUIET_S)
            if not events:
                self._ready = not self._prepare()
            for key, _ in events:
                if key.fileobj is not self._supervisor:
                    self._bury(key.fd)
                    continue
                name, descriptors, _, _ = socket.recv_fds(self._supervisor, NAME_BYTES, 2)
                if not name:
                    return None
                try:
                    if self._bear(descriptors):
                        return name.decode()
                finally:
                    for descriptor in descriptors:
                        os.close(descriptor)

    def _bear(self, descriptors: Sequence[int]) -> bool:
        """Fork; True in the engine."""
        if len(tasks(os.getpid())) != 1:
            self._tell(NotBorn(errno.EDEADLK))
            return False
        try:
            orders, reports = descriptors
        except ValueError:  # no room for more
            self._tell(NotBorn(errno.EMFILE))
            return False
        try:
            pid = os.fork()
        except OSError as error:
            self._tell(NotBorn(error.errno or errno.EAGAIN))
            return False
        if not pid:
            self._leave(orders, reports)
            return True
        try:
            process = os.pidfd_open(pid)  # of this one for certain: nobody else waits for it
        except OSError as error:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            self._tell(NotBorn(error.errno or errno.EMFILE))
            return False
        self._engines[process] = pid
        self._events.register(process, selectors.EVENT_READ)
        self._tell(Born(pid), process)
        return False

    def _leave(self, orders: int, reports: int) -> None:
        """In an engine: let go of what is the nursery's, and become what a new process would be."""
        self._events.close()
        for descriptor in self._engines:
            os.close(descriptor)
        os.dup2(orders, 0)
        os.dup2(reports, 1)
        self._supervisor.close()
        os.setpgid(0, 0)  # Ctrl-C goes to the supervisor alone, which drains first
        if numbers := sys.modules.get("numpy.random"):
            numbers.seed()  # as `random` does by itself: no two draw the same

    def _bury(self, process: int) -> None:
        self._events.unregister(process)
        os.close(process)
        engine = self._engines.pop(process)
        end_group(engine)
        pid, status = os.waitpid(engine, 0)
        self._tell(Ended(pid, os.waitstatus_to_exitcode(status)))

    def _tell(self, report: Report, *descriptors: int) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the next read ends this
            socket.send_fds(self._supervisor, [pack(report)], descriptors)


def main() -> int:
    """Run the process; the status is that of an engine in an engine, else 0."""
    supervisor = socket.socket(fileno=os.dup(0))
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a descriptor
        os.dup2(nothing.fileno(), 0)
    libraries = backends.usual()
    next(libraries, None)

    def import_another() -> bool:
        return backends.QUIET and next(libraries, None) is not None

    name = Nursery(supervisor, import_another).serve()
    if name is None:
        return 0
    setproctitle(f"{sys.executable} -m headrace.engine.worker {name}")  # for those who use `ps`
    return worker.main()


if __name__ == "__main__":
    headrace.startup.imported()
    sys.exit(main())
