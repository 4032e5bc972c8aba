"""The map in the docstring of every package names its modules, and nothing that is not there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.docs.markdown import PACKAGE

FOLDERS = sorted(path.parent for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE)
every_package = pytest.mark.parametrize(
    "folder", FOLDERS, ids=lambda folder: str(folder.relative_to(PACKAGE))
)


def _map(folder: Path) -> str:
    tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
    return ast.get_docstring(tree) or ""


def _modules(folder: Path) -> set[str]:
    files = {path.stem for path in folder.glob("*.py")} - {"__init__", "__main__"}
    return files | {path.parent.name for path in folder.glob("*/__init__.py")}


@every_package
def test_every_module_is_on_the_map(folder: Path) -> None:
    missing = {name for name in _modules(folder) if not re.search(rf"\b{name}\b", _map(folder))}
    assert not missing


@every_package
def test_everything_on_the_map_is_there(folder: Path) -> None:
    named = set(re.findall(r"``([a-z0-9_]+)``", _map(folder)))
    strangers = named - _modules(folder) - _modules(PACKAGE)
    assert not strangers
