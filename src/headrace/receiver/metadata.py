"""What models and the server say of themselves, and the parameters both OIP fronts share."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

import headrace
from headrace.errors import InvalidInput, InvalidTimeout, MalformedRequest, VersionNotFound
from headrace.observe.metrics import NORMAL_PRIORITY
from headrace.receiver.catalog import Catalog, ServedModel
from headrace.values import TensorSpec

SHARED_MEMORY = "system_shared_memory"
EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "generate",
    "logging",
    "model_configuration",
    "model_repository",
    "model_repository(unload_dependents)",
    "parameters",
    "schedule_policy",
    "sequence",
    "sequence(string_id)",
    "statistics",
    SHARED_MEMORY,
    "trace",
)
_LAST_PRIORITY = 2**31
# Of a number that came as text: any version has fewer, and Python refuses to read thousands.
_MOST_DIGITS = 18


def server(*, shared_memory: bool) -> dict[str, Any]:
    """The server's metadata, by the protocol's names; shared memory only where it is on."""
    return {
        "name": "headrace",
        "version": headrace.__version__,
        "extensions": [name for name in EXTENSIONS if shared_memory or name != SHARED_MEMORY],
    }


def model(catalog: Catalog, served: ServedModel) -> dict[str, Any]:
    """A model's metadata, by the protocol's names."""
    states = reversed(catalog.states(served.name))
    return {
        "name": served.name,
        "versions": [
            str(state.version)
            for state in states
            if state.state == "serving" or catalog.answers(state)
        ],
        "platform": f"{served.profile.backend}_{served.profile.precision}",
        "inputs": [_tensor(spec) for spec in served.signature.inputs],
        "outputs": [_tensor(spec) for spec in served.signature.outputs],
        "properties": {
            "backend": served.profile.backend,
            "precision": served.profile.precision,
            "batched": str(served.signature.batched).lower(),
        },
    }


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.dtype.value, "shape": list(spec.wire_shape)}


def read_version(text: str) -> int | None:
    """Read a model version; empty means the newest.

    Raises:
        VersionNotFound: versions are numbers.
    """
    if not text:
        return None
    if not _is_number(text):
        raise VersionNotFound(f"versions are numbers, not {reprlib.repr(text)}")
    return int(text)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS


def parameter_timeout_s(parameters: Mapping[str, Any]) -> float | None:
    """Read ``timeout`` (microseconds; 0 says nothing) as seconds.

    Raises:
        InvalidTimeout: it is not a whole number ≥ 0.
    """
    timeout = parameters.get("timeout", 0)
    if isinstance(timeout, str) and _is_number(timeout):
        timeout = int(timeout)
    if not isinstance(timeout, int) or isinstance(timeout, bool) or not 0 <= timeout < 2**64:
        raise InvalidTimeout(
            f"parameter timeout must be whole microseconds, not {reprlib.repr(timeout)}"
        )
    return timeout / 1e6 if timeout else None


def parameter_priority(parameters: Mapping[str, Any]) -> int:
    """Read ``priority``: 1 goes first, 0 or none is normal; returned so that 0 is normal.

    Raises:
        MalformedRequest: it is not a whole number ≥ 0.
    """
    priority = parameters.get("priority", 0)
    if not isinstance(priority, int) or isinstance(priority, bool) or priority < 0:
        raise MalformedRequest(
            f"parameter priority must be a whole number, not {reprlib.repr(priority)}"
        )
    return min(priority, _LAST_PRIORITY) - NORMAL_PRIORITY if priority else 0


def parameter_classes(parameters: Mapping[str, Any]) -> int | None:
    """Read ``classification``: how many classes to answer with.

    Raises:
        InvalidInput: it is not a whole number ≥ 1.
    """
    classes = parameters.get("classification")
    if classes is None:
        return None
    if not isinstance(classes, int) or isinstance(classes, bool) or classes < 1:
        raise InvalidInput(
            f"parameter classification must be a whole number, not {reprlib.repr(classes)}"
        )
    return classes
