"""Code in the documentation is code: settings load, commands parse, Python compiles."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from headrace.cli import parser
from headrace.layers import load
from headrace.settings import Card, Settings
from tests.docs.markdown import PAGES, read

every_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)


@every_page
def test_yaml_is_settings_or_a_card(path: Path, tmp_path: Path) -> None:
    for fence in read(path).fences("yaml"):
        if yaml.safe_load(fence.text).keys() <= Settings.model_fields.keys():
            file = tmp_path / "headrace.yaml"
            file.write_text(fence.text, encoding="utf-8")
            assert load(file, {}, {}).models
        else:
            Card.model_validate(yaml.safe_load(fence.text))


@every_page
def test_commands_of_ours_parse(path: Path) -> None:
    page = read(path)
    for code in [*page.spans(), *page.commands()]:
        if (
            re.match(r"headrace (serve\b|check\b|plan\b|import .|load .)", code)
            and "$(" not in code
        ):
            parser().parse_args(shlex.split(code)[1:])


@every_page
def test_python_compiles(path: Path) -> None:
    for fence in read(path).fences("python"):
        compile(fence.text, path.name, "exec")


@every_page
def test_every_block_says_what_it_is(path: Path) -> None:
    for fence in read(path).fences():
        assert fence.language in {"shell", "python", "yaml", "json", "text"}, fence.text
