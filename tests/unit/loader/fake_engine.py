"""An engine in miniature: obeys the protocol of the supervisor in the way its arguments say.

Standard library only, so that it starts fast: ``fake_engine.py BEHAVIOUR``.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROFILE = {
    "signature": {"inputs": [], "outputs": [], "batched": True},
    "backend": "fake",
    "precision": "f32",
    "instances": 1,
    "threads": 1,
    "batch_sizes": [1],
    "pads": False,
    "measurements": [],
    "load_s": 0.0,
    "warm_s": 0.0,
    "memory_bytes": 0,
}


def say(kind: str, **fields: Any) -> None:
    sys.stdout.write(json.dumps({"kind": kind, **fields}) + "\n")
    sys.stdout.flush()


def ready() -> None:
    say("engine_loading", step="reading")
    say("engine_loading", step="warming 1 of 1")
    say("engine_ready", profile=PROFILE)


def serve() -> None:
    ready()
    sys.stdin.read()  # until the supervisor hangs up


def tell_beside() -> None:
    say("engine_loading", step=f"beside {SPEC['beside']}")
    serve()


def refuse() -> None:
    say("engine_failed", code="model_load", message="no such operator: Frob")


def differ() -> None:
    path = SPEC["samples_path"]
    if path is None:
        serve()
    else:
        say("engine_failed", code="model_differs", message=f"not as {Path(path).read_text()}")


def crash() -> None:
    sys.exit(3)


def abort() -> None:
    say("engine_loading", step="reading")
    signal.raise_signal(signal.SIGKILL)


def die_serving() -> None:
    ready()
    sys.exit(4)


def die_as_parent() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    say("engine_loading", step=f"child {child.pid}")
    ready()
    sys.exit(5)


def hang() -> None:
    say("engine_loading", step="reading")
    time.sleep(60)


def deaf() -> None:
    ready()
    time.sleep(60)


def chatter() -> None:
    sys.stdout.write("a library says hello\n")
    serve()


def shout() -> None:
    sys.stdout.write("x" * (64 * 2**20 + 1))
    ready()


def echo() -> None:
    import headrace  # noqa: PLC0415 - the one behaviour that needs it

    heard = [SPEC, headrace.__version__, sys.argv[2:]]
    say("engine_failed", code="model_load", message=json.dumps(heard))


SPEC = json.loads(sys.stdin.readline())
BEHAVIOURS: dict[str, Callable[[], None]] = {
    one.__name__: one
    for one in (
        serve,
        tell_beside,
        refuse,
        differ,
        crash,
        abort,
        die_serving,
        die_as_parent,
        hang,
        deaf,
        chatter,
        shout,
        echo,
    )
}
BEHAVIOURS[sys.argv[1]]()
