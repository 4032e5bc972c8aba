"""The samples that a candidate is judged by: the user's, or made up where there are none.

``--data`` is a ``.npz`` file (an array for each input, rows on axis 0, and ``labels`` where there
are some), a ``.npy`` file, requests in ``.json``, or a folder of those. Where the card says what
files a model ``accepts``, it may be a folder of such files: in a folder for each class, or with
``labels.csv`` beside them (the name of a file, and its class).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np

from headrace.accepts import AcceptedInput
from headrace.errors import SettingsError
from headrace.load.apis.contract import Specs
from headrace.load.data import File, arrays, checked, read_numpy, read_requests
from headrace.load.synthetic import make_requests
from headrace.tune.files import OTHERS, TABLE, labelled_files, read_files
from headrace.tune.job import room_bytes
from headrace.values import Array, Signature

LABELS = "labels"
"""What the right classes are called in an ``.npz`` file, and in a folder of ``.npy`` files."""

_ARRAYS = frozenset({".npz", ".npy", ".json"})
# They are in memory at once, with the answers of every candidate.
_MOST_BYTES = 2**30
# Of what is read so many are chosen: what is read may take this, and this part of the memory that
# is free, for the arrays of several files are there twice while they are joined.
_MOST_FILE_BYTES, _MEMORY_SHARE = 4 * 2**30, 1 / 3


@dataclass(frozen=True, slots=True)
class Samples:
    """Inputs with the samples on axis 0, and the right class of each where that is known.

    Of a model without a batch axis every sample is a whole request. ``whole`` says for people where
    they come from, and ``there`` how many of them there are; 0: these.
    """

    inputs: Mapping[str, Array]
    labels: Array | None
    whole: str
    there: int = 0

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    @property
    def origin(self) -> str:
        """Where they come from, for people."""
        return self.whole if len(self) >= self.there else f"{len(self)} of {self.whole}"

    def at(self, places: Sequence[int]) -> Samples:
        """Those at some places."""
        inputs = {name: array[places] for name, array in self.inputs.items()}
        labels = None if self.labels is None else self.labels[places]
        return Samples(inputs, labels, self.whole, self.there or len(self))


def load_samples(
    path: Path | None,
    signature: Signature,
    *,
    rows: int,
    labelled_rows: int | None = None,
    seed: int = 0,
    accepts: Sequence[AcceptedInput] = (),
    classes: Sequence[str] = (),
    become: Signature | None = None,
) -> Samples:
    """Read at most so many samples, chosen by ``seed``; None for a path: make them up.

    ``labelled_rows`` are wanted where there are labels; None: as many. Fewer are read where those
    would take more than a GiB. ``classes`` are the names of the model's classes,
    which folders and ``labels.csv`` may use. ``become`` is the signature that images, audio and
    text are made for; None: the same.

    Raises:
        SettingsError: they cannot be read, do not fit the model, or are too large.
        BackendMissing: a library that reads such files is not installed.
    """
    specs = nameless(signature)
    if path is None:
        return _made_up(signature, specs, rows, seed)
    try:
        files = _files(path)
        given = [file for file in files if file.suffix.lower() not in OTHERS] or files
        if all(file.suffix.lower() in _ARRAYS for file in given):
            _check_no_table(path, files)
            files = given
            found = _from_arrays(path, files, signature, specs)
            _check_any(path, len(found))
            wanted = _wanted(rows, labelled_rows, found.labels is not None)
            places = _choose(len(found), _room(found.inputs, wanted), seed)
            return found if len(places) == len(found) else found.at(places)
        listed = labelled_files(path, files, classes)
        _check_any(path, len(listed))
        _check_accepted(given, accepts)
        made = become or signature
        one = read_files([listed[0].path], made, accepts)
        wanted = _wanted(rows, labelled_rows, all(file.label is not None for file in listed))
        chosen = _choose(len(listed), _room(one, wanted), seed)
        inputs = read_files([listed[place].path for place in chosen], made, accepts)
    except OSError as error:
        raise SettingsError(f"--data {path} cannot be read: {error.strerror or error}") from error
    _check_size(path, inputs)
    right = [listed[place].label for place in chosen]
    labels = None if None in right else np.array(right, np.int64)
    return Samples(inputs, labels, _whole(path, len(listed), labels), len(listed))


def _check_no_table(path: Path, files: Sequence[Path]) -> None:
    if path.is_dir() and path / TABLE in files:
        raise SettingsError(
            f"--data {path}: {TABLE} is of files that are a sample each, and arrays have a class "
            f"for each row: put {LABELS!r} into the .npz files, or {LABELS}.npy beside the others"
        )


def _check_accepted(files: Sequence[Path], accepts: Sequence[AcceptedInput]) -> None:
    strangers = [file.name for file in files if file.suffix.lower() not in _ARRAYS]
    if strangers and not accepts:
        raise SettingsError(
            f"--data: {strangers[0]} is no .npz, .npy or .json file, and the model's card does not "
            "say with `accepts` how such files become its inputs"
        )


def nameless(signature: Signature) -> Specs:
    """What the model takes; a free dimension, whatever it is called, is None."""
    return tuple(
        replace(spec, shape=tuple(dim if isinstance(dim, int) else None for dim in spec.shape))
        for spec in signature.inputs
    )


def stamps(path: Path) -> list[tuple[str, int, int]]:
    """What tells that a file of it was changed: name, bytes and time of each.

    Raises:
        SettingsError: there is no file in it, or it cannot be looked at.
    """
    try:
        found = [(file, file.stat()) for file in _files(path)]
    except OSError as error:
        raise SettingsError(f"--data {path} cannot be read: {error.strerror or error}") from error
    return [(str(file), seen.st_size, seen.st_mtime_ns) for file, seen in found]


def _files(path: Path) -> list[Path]:
    """The files of a path, those of folders in a folder too; hidden ones are not of it.

    Raises:
        SettingsError: there are none.
    """
    if not path.is_dir():
        return [path]
    files = [
        file
        for file in sorted(path.rglob("*"))
        if file.is_file() and not any(p.startswith(".") for p in file.relative_to(path).parts)
    ]
    if not files:
        raise SettingsError(f"--data {path}: there is no file in it")
    return files


# --- arrays ---------------------------------------------------------------------------------------


def _from_arrays(path: Path, files: list[Path], signature: Signature, specs: Specs) -> Samples:
    _check_memory(path, sum(map(_array_bytes, files)))
    apart = None if any(spec.name == LABELS for spec in specs) else LABELS
    parts: list[Mapping[str, Array]] = []
    right: list[Array] = []
    for file in files:
        try:
            if file.suffix.lower() == ".json":
                parts += _from_json(file, specs)
                continue
            if apart and file.stem == apart and file.suffix.lower() == ".npy":
                right.append(np.asarray(read_numpy(file)))
                continue
            said = dict(arrays(file, specs))
            if apart in said:
                right.append(np.asarray(said.pop(apart)))
            parts.append(checked(said, specs))
        except (ValueError, KeyError, TypeError) as error:
            raise SettingsError(f"--data {file}: {error}") from error
    inputs = _joined(path, parts, signature)
    labels = np.concatenate([one.reshape(-1) for one in right]) if right else None
    samples = Samples(inputs, None, "")
    if labels is not None:
        _check_labels(path, labels, len(samples))
    return Samples(inputs, labels, _whole(path, len(samples), labels))


def _check_memory(path: Path, size_bytes: int) -> None:
    room = room_bytes(_MEMORY_SHARE)
    if size_bytes > min(room, _MOST_FILE_BYTES):
        most = f"{_MOST_FILE_BYTES >> 20} MiB are read"
        if room < _MOST_FILE_BYTES:
            most = f"{room / 2**20:.0f} MiB of memory are free for them"
        raise SettingsError(
            f"--data {path}: its arrays take {math.ceil(size_bytes / 2**20)} MiB, at most {most}: "
            "give fewer samples"
        )


def _array_bytes(file: Path) -> int:
    """What is in a file, which may be compressed."""
    try:
        if file.suffix.lower() == ".npz":
            with ZipFile(file) as archive:
                return sum(member.file_size for member in archive.infolist())
    except BadZipFile:
        pass  # who reads it says so
    return file.stat().st_size


def _from_json(file: Path, specs: Specs) -> list[Mapping[str, Array]]:
    return [one for one in read_requests(file, lambda: specs, 1) if not isinstance(one, File)]


def _joined(
    path: Path, parts: Sequence[Mapping[str, Array]], signature: Signature
) -> dict[str, Array]:
    """Put the samples of all files on axis 0."""
    if not parts:
        raise SettingsError(f"--data {path}: there are labels in it, and no samples")
    try:
        inputs = {
            spec.name: _one_array([part[spec.name] for part in parts], batched=signature.batched)
            for spec in signature.inputs
        }
        rows = {name: len(array) for name, array in inputs.items()}
    except KeyError as error:
        raise SettingsError(f"--data {path}: the input {error} is missing") from error
    except ValueError as error:
        raise SettingsError(
            f"--data {path}: its samples are of different shapes: pad them to one, or give those "
            f"of one: {error}"
        ) from error
    if len(set(rows.values())) > 1:
        told = ", ".join(f"{name} has {count}" for name, count in rows.items())
        raise SettingsError(f"--data {path}: inputs with different numbers of rows: {told}")
    return inputs


def _one_array(parts: Sequence[Array], *, batched: bool) -> Array:
    if len(parts) == 1:  # which joining would copy
        return parts[0] if batched else parts[0][np.newaxis]
    return np.concatenate(parts) if batched else np.stack(parts)


def _check_labels(path: Path, labels: Array, rows: int) -> None:
    if labels.dtype.kind not in "iu" or (labels.size and int(labels.min()) < 0):
        raise SettingsError(
            f"--data {path}: labels are the numbers of classes, from 0 on, not {labels.dtype}"
        )
    if len(labels) != rows:
        raise SettingsError(f"--data {path}: {len(labels)} labels for {rows} samples")


# --- how many -------------------------------------------------------------------------------------


def _wanted(rows: int, labelled_rows: int | None, labelled: bool) -> int:
    return labelled_rows if labelled and labelled_rows is not None else rows


def _room(inputs: Mapping[str, Array], rows: int) -> int:
    """So many rows, or as many like these as there is memory for."""
    most = _MOST_BYTES * max(map(len, inputs.values())) // max(_size_bytes(inputs), 1)
    return max(1, min(rows, most))


def _size_bytes(inputs: Mapping[str, Array]) -> int:
    return sum(array.nbytes for array in inputs.values())


def _choose(count: int, rows: int, seed: int) -> Sequence[int]:
    """So many places of so many, in their order: any class may be among them."""
    if count <= rows:
        return range(count)
    return sorted(np.random.default_rng(seed).permutation(count)[:rows].tolist())


def _check_any(path: Path, rows: int) -> None:
    if not rows:
        raise SettingsError(f"--data {path}: there is no sample in it")


def _check_size(path: Path, inputs: Mapping[str, Array]) -> None:
    if _size_bytes(inputs) > _MOST_BYTES:
        raise SettingsError(
            f"--data {path}: as tensors they are more than {_MOST_BYTES >> 20} MiB; give fewer"
        )


def _whole(path: Path, there: int, labels: Array | None) -> str:
    return f"{there} samples of {path}, {'with' if labels is not None else 'without'} labels"


# --- made up --------------------------------------------------------------------------------------


def _made_up(signature: Signature, specs: Specs, rows: int, seed: int) -> Samples:
    start = 1 if signature.batched else 0
    free = [spec.name for spec in specs if None in spec.shape[start:]]
    if free:
        raise SettingsError(
            f"the input {free[0]!r} may be of many shapes: give samples with --data, or name one "
            "under warm_shapes in the card"
        )
    row_bytes = sum(
        math.prod(d for d in spec.shape[start:] if isinstance(d, int))
        * (spec.dtype.size_bytes or 8)
        for spec in specs
    )
    count = max(1, min(rows, _MOST_BYTES // max(row_bytes, 1)))
    origin = f"{count} made-up samples: agreement on those says little of real ones (--data)"
    if signature.batched:
        whole = tuple(replace(spec, shape=(count, *spec.shape[1:])) for spec in specs)
        return Samples(make_requests(whole, seed, 1)[0], None, origin)
    made = make_requests(specs, seed, count)
    return Samples({n: np.stack([one[n] for one in made]) for n in made[0]}, None, origin)
