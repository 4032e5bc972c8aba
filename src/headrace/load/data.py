"""Real requests from files: arrays, JSON as one would send it, and images, audio and text.

``x.npz`` has an array for each input and ``x.npy`` that of the only one; both are cut into requests
of so many rows. A ``.json`` file is one request, or a list of them. Anything else is sent as it is.
Of a folder every file is taken, in the order of their names.
"""

from __future__ import annotations

import base64
import mimetypes
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile, ZipFile

import numpy as np
import orjson

from headrace.errors import SettingsError
from headrace.load.apis.contract import Inputs, Specs
from headrace.load.apis.tensors import strings
from headrace.values import Array, DType, TensorSpec, converted

# They are encoded before the run and kept: more than this is a data set, not a load.
_MOST_BYTES = 2**30
# From here on not every whole number is a float.
_LARGEST_EXACT = 2.0**53
# What NumPy's files, which know no bfloat16, make of it.
_UNNAMED_BF16 = np.dtype("V2")


class File(NamedTuple):
    """A request that is a file, sent as it is."""

    body: bytes
    content_type: str


def read_requests(path: Path, specs: Callable[[], Specs], rows: int) -> list[Inputs | File]:
    """Read the requests of a file or a folder; ``specs`` says what the model takes, when asked.

    Raises:
        SettingsError: it cannot be read, does not fit the model, or is too much.
    """
    try:
        files = sorted(_files(path))
        if sum(file.stat().st_size for file in files) > _MOST_BYTES:
            raise SettingsError(f"--data {path}: more than {_MOST_BYTES >> 20} MiB; give fewer")
        found = [one for file in files for one in _read(file, specs, rows)]
    except OSError as error:
        raise SettingsError(f"--data {path} cannot be read: {error.strerror or error}") from error
    if not found:
        raise SettingsError(f"--data {path}: there is nothing to send in it")
    return found


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    yield from (one for one in path.iterdir() if one.is_file() and not one.name.startswith("."))


def _read(path: Path, specs: Callable[[], Specs], rows: int) -> Iterator[Inputs | File]:
    suffix = path.suffix.lower()
    if suffix not in {".npz", ".npy", ".json"}:
        guessed = mimetypes.guess_type(path.name)[0]
        yield File(path.read_bytes(), guessed or "application/octet-stream")
        return
    try:
        if suffix == ".json":
            for document in _documents(orjson.loads(path.read_bytes()), specs()):
                yield _given(_columns(document, specs()), specs())
        else:
            yield from _cut(_given(arrays(path, specs()), specs()), specs(), rows)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingsError(f"--data {path}: {error}") from error


def _given(columns: Mapping[str, Any], specs: Specs) -> Inputs:
    if not columns:
        names = ", ".join(spec.name for spec in specs)
        raise ValueError(f"there is no input in it; the model's are {names}")
    return checked(columns, specs)


# --- arrays ---------------------------------------------------------------------------------------


def arrays(path: Path, specs: Specs) -> Mapping[str, Array]:
    """Read an ``.npz`` or ``.npy`` file, as it is.

    Raises:
        ValueError: it is none, is damaged, or has one array for several inputs.
    """
    loaded = read_numpy(path)
    return loaded if isinstance(loaded, dict) else {_only(specs).name: loaded}


def read_numpy(path: Path) -> Array | dict[str, Array]:
    """Read an array, or of an ``.npz`` file all of them by their names.

    Raises:
        ValueError: it is none, or is damaged.
    """
    try:
        with path.open("rb") as file:  # of a damaged one NumPy would leave it open
            loaded = np.load(file, allow_pickle=False)
            return loaded if isinstance(loaded, np.ndarray) else dict(loaded)
    except (EOFError, BadZipFile, zlib.error, MemoryError) as error:
        raise ValueError(f"it is empty, cut off or damaged, write it anew: {error}") from error


def write_numpy(path: Path, named: Mapping[str, Array]) -> None:
    """Write an ``.npz`` file of arrays of any name, which ``numpy.savez`` does not take all of."""
    with ZipFile(path, "w") as archive:
        for name, array in named.items():
            # How long it is, is not known before.
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def _only(specs: Specs) -> TensorSpec:
    if len(specs) != 1:
        names = ", ".join(spec.name for spec in specs)
        raise ValueError(f"the model has several inputs ({names}): name them, as in an .npz file")
    return specs[0]


def checked(columns: Mapping[str, Any], specs: Specs) -> Inputs:
    """Check names, types and shapes, so that a mistake is told by its name and not by a server.

    Raises:
        ValueError: one of them does not fit.
    """
    known = {spec.name: spec for spec in specs}
    strangers = columns.keys() - known.keys()
    if strangers:
        raise ValueError(f"{min(strangers)} is none of the model's inputs ({', '.join(known)})")
    return {name: _fit(known[name], value) for name, value in columns.items()}


def _fit(spec: TensorSpec, value: Any) -> Array:
    array = _strings(spec, value) if spec.dtype is DType.BYTES else np.asarray(value)
    wanted = spec.dtype.numpy
    if spec.dtype is DType.BF16 and array.dtype == _UNNAMED_BF16:
        array = array.view(wanted)
    if array.dtype != wanted:
        written = isinstance(value, list)  # JSON has no types: what comes is what is wanted
        if not (written or np.can_cast(array.dtype, wanted, "same_kind")):
            raise ValueError(f"{spec.name} is {array.dtype}, the model takes {spec.dtype.value}")
        made = converted(_exact(value, array, spec.dtype) if written else array, spec.dtype)
        if made is None:
            raise _unfit(spec)
        array = made
    if array.ndim == len(spec.shape) - 1 and spec.shape[0] is None:
        array = array[np.newaxis]
    if array.ndim != len(spec.shape) or any(
        size is not None and size != got for size, got in zip(spec.shape, array.shape, strict=True)
    ):
        shape = ",".join("any" if size is None else str(size) for size in spec.shape)
        raise ValueError(f"{spec.name} is of shape {array.shape}, the model takes ({shape})")
    return array


def _exact(value: Any, array: Array, dtype: DType) -> Array:
    """Undo what NumPy does to large whole numbers beside others, of which it makes floats."""
    if dtype.numpy.kind not in "iu" or array.dtype.kind != "f" or not array.size:
        return array
    if not np.isfinite(array).all() or np.abs(array).max() < _LARGEST_EXACT:
        return array
    written = np.array(value, object)
    whole = [int(one) for one in written.flat]
    if any(number != one for number, one in zip(whole, written.flat, strict=True)):
        return array
    try:
        return np.array(whole, dtype.numpy).reshape(written.shape)
    except OverflowError:
        return array


def _unfit(spec: TensorSpec) -> ValueError:
    return ValueError(f"{spec.name}: a value in it does not fit {spec.dtype.value}")


def _strings(spec: TensorSpec, value: Any) -> Array:
    flat = np.array(value, object)
    if any(one is None for one in flat.flat):
        raise _unfit(spec)
    return strings([_octets(one) for one in flat.reshape(-1)]).reshape(flat.shape)


def _octets(value: Any) -> bytes:
    if isinstance(value, dict):
        said = value["b64"]
        # Many programs write it in lines.
        return base64.b64decode(
            "".join(said.split()) if isinstance(said, str) else said, validate=True
        )
    if isinstance(value, list):
        raise TypeError("its rows are not all of one length")
    return value if isinstance(value, bytes) else str(value).encode()


def _cut(inputs: Inputs, specs: Specs, rows: int) -> Iterator[Inputs]:
    """Cut arrays into requests where the model takes any number of rows."""
    if any(spec.shape[:1] != (None,) for spec in specs):
        yield inputs
        return
    length = min(len(array) for array in inputs.values())
    for first in range(0, length - length % rows if length > rows else length, rows):
        yield {name: array[first : first + rows] for name, array in inputs.items()}


# --- JSON -----------------------------------------------------------------------------------------


def _documents(document: Any, specs: Specs) -> Iterator[Any]:
    """One request, a list of them, or Triton's ``{"data": [...]}``."""
    if isinstance(document, dict) and not _is_bare(document, specs):
        requests = document.get("data")
        document = requests if isinstance(requests, list) else document
    if isinstance(document, list):
        yield from document
    else:
        yield document


def _columns(document: Any, specs: Specs) -> dict[str, Any]:
    """Read a request as any of the protocols would write it, or bare names and tensors."""
    if not isinstance(document, dict):
        raise TypeError("a request is an object of names and tensors")
    if _is_bare(document, specs):
        return {name: _tensor(one) for name, one in document.items()}
    if "instances" in document:
        return _rows(document["instances"], specs)
    value = document.get("inputs", document.get("input", document))
    if isinstance(value, list) and value and isinstance(value[0], dict) and "name" in value[0]:
        return {one["name"]: _reshaped(one["data"], one["shape"]) for one in value}
    if not isinstance(value, dict):
        return {_only(specs).name: value}
    return {name: _tensor(one) for name, one in value.items()}


def _is_bare(document: Mapping[str, Any], specs: Specs) -> bool:
    """Whether these are the inputs by their names, which may be those that protocols use."""
    names = {spec.name for spec in specs}
    if len(document) == 1:
        (value,) = document.values()
        inner = value[0] if isinstance(value, list) and value else value
        if isinstance(inner, dict) and (inner.keys() <= names or "name" in inner):
            return False  # a protocol's, around the names
    return bool(document) and document.keys() <= names


def _tensor(value: Any) -> Any:
    if isinstance(value, dict) and "content" in value:
        content = value["content"]
        return _reshaped(content, value["shape"]) if "shape" in value else content
    return value


def _reshaped(data: Any, shape: Any) -> Any:
    """Put elements into rows as they are: of their types NumPy would make one."""
    return np.array(data, object).reshape(shape).tolist()


def _rows(rows: Any, specs: Specs) -> dict[str, Any]:
    if not isinstance(rows, list) or not rows:
        raise ValueError("instances should be a list of rows, at least one")
    names = {spec.name for spec in specs}
    if isinstance(rows[0], dict) and rows[0].keys() <= names:
        return {name: [row[name] for row in rows] for name in rows[0]}
    return {_only(specs).name: rows}
