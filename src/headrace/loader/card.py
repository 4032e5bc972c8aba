"""What a model says of itself: ``card.yaml`` beside it, and its class names."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from headrace.documents import anchor_paths, read
from headrace.errors import ModelLoadError, SettingsError
from headrace.problems import explain
from headrace.settings import Card

CARD_NAME = "card.yaml"


def read_card(*folders: Path) -> Card:
    """Read ``card.yaml`` from the first of the folders that has one; an empty card if none has.

    A labels file is relative to the card.

    Raises:
        SettingsError: names every bad key with its file and line.
    """
    path = next((folder / CARD_NAME for folder in folders if (folder / CARD_NAME).exists()), None)
    if path is None:
        return Card()
    document = read(path)
    anchor_paths(document.data, path.parent)
    try:
        return Card.model_validate(document.data)
    except ValidationError as error:
        problems = explain(error, Card, document.data, document.origins)
        raise SettingsError("\n".join(problems)) from error


def read_labels(labels: tuple[str, ...] | Path | None) -> tuple[str, ...]:
    """Return class names: as given, or the lines of a text file; line 1 names class 0.

    Empty lines at the end do not count; others do, for the place of a line is its class.

    Raises:
        ModelLoadError: the file cannot be read, or is empty.
    """
    if labels is None:
        return ()
    if not isinstance(labels, Path):
        return labels
    try:
        text = labels.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ModelLoadError(f"labels file {labels}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ModelLoadError(f"labels file {labels}: is not UTF-8 text") from error
    lines = [line.strip() for line in text.rstrip().split("\n")]
    if lines == [""]:
        raise ModelLoadError(f"labels file {labels}: is empty; it should name a class a line")
    return tuple(lines)
