"""Which files of a place are fetched: the versions that are wanted and what lies beside them; pure.

What is what there follows the same rules as in a folder of this machine (``places``), which looks
at what was fetched.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from headrace.formats import SUFFIXES
from headrace.importers.folders import CARD_NAME
from headrace.loader.places import SAVED_MODEL
from headrace.loader.remote.listing import RemoteFile
from headrace.order import VersionPolicy

_CODE = ".py"
# Beside a model lie its card, class names, a tokenizer; what is larger is something else.
_LARGEST_BESIDE_BYTES = 64 * 2**20
# Where many models or anything else lies together, only what a card may name is taken along.
_BESIDE_MANY = (".yaml", ".txt", ".json")


class Part(NamedTuple):
    """Files that are fetched together and stay together: one version, or what lies beside it.

    ``folder`` is the one they lie in, and ``files`` have their names from there on. ``model`` is
    what the place itself calls the model, empty of what lies beside many.
    """

    folder: str
    files: tuple[RemoteFile, ...]
    model: str = ""

    @property
    def size_bytes(self) -> int:
        """What they need on a disk, as far as the store tells."""
        return sum(file.size_bytes or 0 for file in self.files)

    @property
    def tops(self) -> list[str]:
        """The names in its folder that are its own."""
        return sorted({file.name.partition("/")[0] for file in self.files})


def choose(root: str, files: Sequence[RemoteFile], policy: VersionPolicy) -> list[Part]:
    """Choose what to fetch of a place that is called ``root``."""
    return [part for part in _choose(root, files, policy) if part.files]


def has_models(parts: Iterable[Part]) -> bool:
    """Whether there is anything to serve in these."""
    return any(_is_any_model(file.name) for part in parts for file in part.files)


def is_spare(name: str) -> bool:
    """Whether models may be served without a file that they have by name only, if at all."""
    last = name.rpartition("/")[2]
    return last != CARD_NAME and last.endswith(_BESIDE_MANY)


def _choose(root: str, files: Sequence[RemoteFile], policy: VersionPolicy) -> Iterator[Part]:
    if any(file.name == root for file in files):
        yield _single(files, root)
        return
    inside = _below(files, root)
    if _has(inside, SAVED_MODEL):
        yield Part("", tuple(file for file in files if file.name.startswith(f"{root}/")), root)
    elif any(_is_number(name) for name in _folders(inside)):
        yield from _versioned(root, root, inside, policy)
    else:
        yield from _models(root, inside, policy)


def _single(files: Sequence[RemoteFile], name: str) -> Part:
    """A model that is one file, with those named like it and what a card may name."""
    stem = PurePosixPath(name).stem
    mine = [f for f in files if f.name.startswith(f"{stem}.") and "/" not in f.name]
    return Part("", tuple(sorted({*mine, *_beside_many(files)})), stem)


def _models(root: str, inside: Sequence[RemoteFile], policy: VersionPolicy) -> Iterator[Part]:
    """A folder of models."""
    for name, below in _folders(inside).items():
        if _has(below, SAVED_MODEL):
            yield Part(root, tuple(f._replace(name=f"{name}/{f.name}") for f in below), name)
        elif any(_is_number(inner) for inner in _folders(below)):
            yield from _versioned(f"{root}/{name}", name, below, policy)
        else:  # its configuration may say why it is none
            yield Part(f"{root}/{name}", _beside_many(below, ".pbtxt"), name)
    flat = [file for file in inside if "/" not in file.name]
    stems = {PurePosixPath(file.name).stem for file in flat if _is_model(file.name)}
    taken: set[RemoteFile] = set()
    for stem in sorted(stems, key=len, reverse=True):  # `m.int8.onnx` is none of `m.onnx`
        mine = [f for f in flat if f.name.startswith(f"{stem}.") and f not in taken]
        taken.update(mine)
        yield Part(root, tuple(mine), stem)
    yield Part(root, tuple(file for file in _beside_many(flat) if file not in taken))


def _versioned(
    folder: str, model: str, inside: Sequence[RemoteFile], policy: VersionPolicy
) -> Iterator[Part]:
    """A folder of versions: those that are wanted, each a part, and what is beside them."""
    there = {name: below for name, below in _folders(inside).items() if _is_number(name)}
    for name in _wanted(there, policy):
        files = tuple(f._replace(name=f"{name}/{f.name}") for f in there[name])
        yield Part(folder, files, model)
    flat = [file for file in inside if "/" not in file.name]
    yield Part(folder, tuple(file for file in flat if _is_small(file)), model)


def _wanted(there: Mapping[str, Sequence[RemoteFile]], policy: VersionPolicy) -> list[str]:
    """The version folders that the policy wants, of those with a model where any has one.

    A newer one that has none yet is still being written, and takes nobody's place.
    """
    whole = [name for name, files in there.items() if any(_is_any_model(f.name) for f in files)]
    candidates = whole if whole and policy.specific is None else list(there)
    wanted = policy.choose({int(name) for name in candidates})
    return [name for name in candidates if int(name) in wanted]


def _below(files: Iterable[RemoteFile], folder: str) -> list[RemoteFile]:
    """The files of a folder, by their names in it."""
    start = f"{folder}/"
    return [
        file._replace(name=file.name.removeprefix(start))
        for file in files
        if file.name.startswith(start)
    ]


def _folders(inside: Iterable[RemoteFile]) -> dict[str, list[RemoteFile]]:
    """The folders in a folder, each with its files."""
    found: defaultdict[str, list[RemoteFile]] = defaultdict(list)
    for file in inside:
        name, slash, rest = file.name.partition("/")
        if slash:
            found[name].append(file._replace(name=rest))
    return found


def _beside_many(files: Iterable[RemoteFile], *more: str) -> tuple[RemoteFile, ...]:
    return tuple(
        file
        for file in files
        if "/" not in file.name
        and _is_small(file)
        and (file.name == CARD_NAME or file.name.endswith((*_BESIDE_MANY, *more)))
    )


def _is_small(file: RemoteFile) -> bool:
    return file.size_bytes is None or file.size_bytes <= _LARGEST_BESIDE_BYTES


def _is_model(name: str) -> bool:
    return name.endswith(SUFFIXES) and not name.endswith(_CODE)


def _is_any_model(name: str) -> bool:
    return name.endswith((*SUFFIXES, SAVED_MODEL))


def _has(inside: Iterable[RemoteFile], name: str) -> bool:
    return any(file.name == name for file in inside)


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()
