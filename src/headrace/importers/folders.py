"""Which folders are models of a Triton repository, and which are versions of one.

A numbered folder may be either: a model may be called ``7``.
"""

from __future__ import annotations

import os
from pathlib import Path

from headrace.formats import SUFFIXES
from headrace.importers.triton import CONFIG_NAME

CARD_NAME = "card.yaml"
# What a version has directly in it, and a model has not: `model.savedmodel/`, `resnet.onnx`.
_MODEL, _SAVED_MODEL = "model", "saved_model.pb"
_FILES = frozenset(SUFFIXES) - {".py"}  # scripts lie anywhere


def named(path: Path) -> Path:
    """The same place, absolute and with a name: one that ends in ``..`` is called what it is there.

    Links keep their own names.
    """
    return Path(os.path.realpath(path)) if path.name == ".." else path.absolute()


def is_model(folder: Path) -> bool:
    """Whether it has a configuration, or version folders."""
    return (folder / CONFIG_NAME).exists() or bool(versions(folder))


def has_card(folder: Path) -> bool:
    """Whether it, or a version of it, has a card, which takes the place of a configuration."""
    return any(any(folder.glob(f"{below}{CARD_NAME}")) for below in ("", "*/"))


def versions(folder: Path) -> list[Path]:
    """The version folders in it, by name: numbered, and no models of their own."""
    return [inner for inner in _numbered(folder) if not _is_numbered_model(inner)]


def _is_numbered_model(folder: Path) -> bool:
    try:
        inside = list(folder.iterdir())
    except OSError:  # whoever reads the version will tell
        return False
    if any(_is_of_a_version(one) for one in inside):
        return False  # a version that has data in numbered folders, perhaps
    return (folder / CONFIG_NAME).exists() or bool(_numbered(folder))


def _is_of_a_version(file: Path) -> bool:
    return file.stem == _MODEL or file.name == _SAVED_MODEL or file.suffix in _FILES


def _numbered(folder: Path) -> list[Path]:
    return [
        inner
        for inner in sorted(folder.iterdir())
        if inner.name.isascii() and inner.name.isdigit() and inner.is_dir()
    ]
