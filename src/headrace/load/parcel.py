"""What crosses from the caller to the sender process and back: one npz file each way, no pickle.

An order is a plan and a target; its answer is what a result has beside its rows, which lie in
shared memory. Beside the arrays lies one JSON document, and beside that the bodies, end to end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from headrace.load.arrivals import Arrivals
from headrace.load.plan import ClosedLoop, Message, OpenLoop, Plan, Protocol, Target
from headrace.load.result import Answer, Outcome, Result
from headrace.load.rows import Rows


def write_order(path: Path, plan: Plan, target: Target) -> None:
    """Write what a sender shall do."""
    document = {"plan": _plan(plan), "target": _target(target)}
    times_s = plan.arrivals.times_s if isinstance(plan, OpenLoop) else np.empty(0)
    _write(path, document, (one.body for one in target.messages), {"times_s": times_s})


def read_order(path: Path) -> tuple[Plan, Target]:
    """Read what a sender shall do."""
    document, bodies, arrays = _read(path)
    target, plan = document["target"], document["plan"]
    headers = target.pop("message_headers")
    messages = (Message(*one) for one in zip(bodies, map(_pairs, headers), strict=True))
    protocol, own = Protocol(target.pop("protocol")), _pairs(target.pop("headers"))
    wanted = Target(protocol=protocol, messages=tuple(messages), headers=own, **target)
    if "concurrency" in plan:
        return ClosedLoop(**plan), wanted
    arrivals = Arrivals(arrays["times_s"], plan["duration_s"])
    return OpenLoop(arrivals, plan["max_outstanding"]), wanted


def write_result(path: Path, result: Result) -> None:
    """Write what came of it beside the rows."""
    document = {
        "outcomes": [tuple(one) for one in result.outcomes],
        "answers": [[index, dict(one.headers)] for index, one in result.answers.items()],
        "started_s": result.started_s,
        "duration_s": result.duration_s,
        "cpu_s": result.cpu_s,
        "concurrency": result.concurrency,
    }
    _write(path, document, (answer.body for answer in result.answers.values()), {})


def read_result(path: Path, rows: Rows) -> Result:
    """Read what came of it."""
    document, bodies, _ = _read(path)
    outcomes = tuple(Outcome(*one) for one in document.pop("outcomes"))
    kept = zip(document.pop("answers"), bodies, strict=True)
    answers = {index: Answer(headers, body) for (index, headers), body in kept}
    columns, queued_s = rows.columns(), rows.queues_s()
    return Result(*columns, outcomes=outcomes, answers=answers, queued_s=queued_s, **document)


def _plan(plan: Plan) -> dict[str, float]:
    if isinstance(plan, OpenLoop):
        return {"max_outstanding": plan.max_outstanding, "duration_s": plan.duration_s}
    return {"concurrency": plan.concurrency, "duration_s": plan.duration_s}


def _target(target: Target) -> dict[str, Any]:
    return {
        "protocol": target.protocol.value,
        "address": target.address,
        "path": target.path,
        "method": target.method,
        "headers": target.headers,
        "message_headers": [message.headers for message in target.messages],
        "timeout_s": target.timeout_s,
        "connections": target.connections,
        "keep": target.keep,
    }


def _pairs(headers: list[list[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in headers)


def _write(
    path: Path,
    document: Mapping[str, Any],
    bodies: Iterable[bytes],
    arrays: Mapping[str, NDArray[Any]],
) -> None:
    parts = list(bodies)
    columns: dict[str, Any] = {
        "document": np.frombuffer(orjson.dumps(document), np.uint8),
        "bodies": np.frombuffer(b"".join(parts), np.uint8),
        "sizes": np.array([len(part) for part in parts], np.int64),
        **arrays,
    }
    with path.open("wb") as file:
        np.savez(file, **columns)


def _read(path: Path) -> tuple[dict[str, Any], list[bytes], dict[str, NDArray[Any]]]:
    with np.load(path) as file:
        arrays = dict(file)
    joined = arrays.pop("bodies").tobytes()
    ends = np.cumsum(arrays.pop("sizes")).tolist()
    bodies = [joined[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    return orjson.loads(arrays.pop("document").tobytes()), bodies, arrays
