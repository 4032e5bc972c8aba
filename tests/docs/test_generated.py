from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from headrace.layers import listing

ROOT = Path(__file__).parents[2]


def _build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_build", ROOT / "docs" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build = _build()


@pytest.mark.parametrize("path", sorted(build.written()), ids=lambda path: path.name)
def test_page_is_current(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == build.written()[path], "run: python docs/build.py"


def test_every_generated_block_is_on_a_page() -> None:
    paths = [*(ROOT / "docs").glob("*.md"), *ROOT.glob("README*.md")]
    pages = "".join(path.read_text(encoding="utf-8") for path in paths)
    for name in build.BLOCKS:
        assert f"<!-- generated: {name} -->" in pages


def test_every_setting_is_on_the_settings_page_with_its_variable() -> None:
    page = build.settings_page()
    for setting in listing():
        assert f"`{setting.variable}`" in page


def test_every_row_has_as_many_cells_as_its_heading() -> None:
    for make in build.PAGES.values():
        width = 0
        for line in make().splitlines():
            cells = len(re.findall(r"(?<!\\)\|", line))
            width = (width or cells) if line.startswith("|") else 0
            assert cells == width or not line.startswith("|"), line
