"""What was imported as a ``headrace.yaml`` whose comments say where each value came from."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from headrace.errors import SettingsError
from headrace.importers.rules import Fate, Imported

_ORDER = ("path", "name")
_FATES = (Fate.NOT_MAPPED, Fate.UNKNOWN)


def write(found: Iterable[Imported], folder: Path | None) -> str:
    """Write the file; paths below ``folder``, where it will lie, become relative to it."""
    models = [one for one in found if not one.shared]
    lines = ["# Written by `headrace import`; every comment says where its value came from."]
    for shared in (one for one in found if one.shared):
        lines += ["defaults:" if shared.keys else "# defaults: nothing of ours"]
        lines += [f"  {line}" for line in _keys(shared, folder)]
        lines += [f"  # {line}" for line in _lost(shared)]
    served = [one for one in models if one.left_out is None]
    lines.append("models:" if served else "models: []")
    for one in served:
        marks = ["- ", *["  "] * len(one.keys)]
        lines += [f"  {mark}{line}" for mark, line in zip(marks, _keys(one, folder), strict=False)]
        lines += [f"    # {line}" for line in _lost(one)]
    left_out = [one for one in models if one.left_out is not None]
    lines += [f"# left out: {_comment(_title(one))}: {_comment(one.left_out)}" for one in left_out]
    return "\n".join(lines) + "\n"


def save(text: str, out: Path, *, force: bool) -> None:
    """Write it to disk, whole or not at all.

    Raises:
        SettingsError: there is a file and it is not to be replaced, or it cannot be written.
    """
    try:
        _put(text, out, force=force)
    except OSError as error:
        raise SettingsError(f"{out}: cannot be written: {error.strerror}") from error


def _put(text: str, out: Path, *, force: bool) -> None:
    if out.is_dir():
        raise SettingsError(f"{out}: is a folder; name a file in it")
    if out.exists() and not out.is_file():
        raise SettingsError(f"{out}: is not a regular file; without --out it is printed")
    if out.exists() and not force:
        raise SettingsError(f"{out}: is there already; --force replaces it")
    real = Path(os.path.realpath(out))  # a link stays one, and what it leads to is replaced
    beside = real.with_name(f".{real.name}.new")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(real)
    finally:
        with contextlib.suppress(OSError):  # there is none, or no folder for it
            beside.unlink()


def _title(one: Imported) -> str:
    return str(one.keys.get("name") or one.source)


def _keys(one: Imported, folder: Path | None) -> Iterator[str]:
    names = sorted(one.keys, key=lambda name: (name not in _ORDER, name != "path"))
    for name in names:
        value = one.keys[name]
        if name in {"path", "labels"} and folder is not None:
            value = _near(str(value), folder)
        yield f"{name}: {_flow(value)}  # {_comment(one.origins.get(name, one.source))}"


def _lost(one: Imported) -> Iterator[str]:
    for note in one.notes:
        if note.fate in _FATES:
            yield _comment(f"{note.fate}: {note.place} {note.field}: {note.words}")


def _near(text: str, folder: Path) -> str:
    path = Path(text)
    inside = path.is_absolute() and path.is_relative_to(folder)
    near = str(path.relative_to(folder)) if inside else text
    return text if near.startswith("~") else near  # that would be somebody's home


def _flow(value: Any) -> str:
    """A value on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=float("inf"), sort_keys=False)
    return text.strip().removesuffix("\n...")


def _comment(text: str | None) -> str:
    """Text that stays on its line."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text or "")
