"""What is served of a place, as a folder of links to copies: it lies there as in the store."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from headrace.loader.remote.chosen import Part

_NEW = ".new"


def show(folder: Path, parts: Iterable[tuple[Part, Path]]) -> None:
    """Let a folder have the files of these parts, from their copies, and no others."""
    links: dict[str, Path] = {}
    for part, copy in parts:
        links |= {f"{part.folder}/{top}".lstrip("/"): copy / top for top in part.tops}
    folder.mkdir(parents=True, exist_ok=True)
    for name in sorted(links):
        _link(folder / name, links[name])
    _remove_others(folder, links)


def _link(link: Path, target: Path) -> None:
    if link.is_symlink() and link.readlink() == target:
        return
    if link.is_dir() and not link.is_symlink():
        shutil.rmtree(link)
    _make_folder(link.parent)
    new = link.with_name(_NEW)  # a name of its own may be too long
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(link)


def _make_folder(folder: Path) -> None:
    """Make a folder, in place of a link that was there."""
    if folder.is_symlink():
        folder.unlink()
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir()


def _remove_others(folder: Path, links: Mapping[str, Path]) -> None:
    for path in _inside(folder):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            if name not in links:
                path.unlink()
        elif not any(path.iterdir()):
            path.rmdir()


def _inside(folder: Path) -> Iterator[Path]:
    """The links and folders in a folder, inner ones first."""
    for here, folders, files in os.walk(folder, topdown=False):
        yield from (Path(here, name) for name in (*files, *folders))
