"""What the documentation names exists: pages, files, functions, keys, flags, targets, events."""

from __future__ import annotations

import ast
import importlib.util
import re
from functools import cache
from pathlib import Path

import pytest

from headrace.cli import MODEL_FLAGS, SERVER_FLAGS, flag
from headrace.dashboard import grammar as dashboard
from headrace.layers import listing
from headrace.load.command import grammar
from headrace.plan import grammar as plan
from headrace.server_settings import ServerSettings
from headrace.settings import ModelSettings
from headrace.tune import grammar as tune
from tests.docs.markdown import PACKAGE, PAGES, ROOT, Page, anchor, read
from zoo.models import MODELS

_FOLDERS = ("src", "tests", "docs", "zoo", "examples", "benchmarks", "tools")
_FLAGS = {flag(name) for name in (*SERVER_FLAGS, *MODEL_FLAGS)} | {"--config", "--json", "--help"}
_FLAGS |= {"--out", "--force"}  # of `headrace import`
_FLAGS |= {"--url", "--watch"}  # of `headrace models`
for _module in (grammar, plan, dashboard, tune):
    _FLAGS |= set(
        re.findall(r"--[a-z][a-z0-9-]*", Path(str(_module.__file__)).read_text(encoding="utf-8"))
    )
_FLAGS |= {"--data-binary", "--cap-add", "--pid"}  # of curl and of Docker
_KEY = re.compile(r"(server|defaults)\.(\w+)")
_CODE = re.compile(r"([\w/]+\.py):([\w.]+)")
_WORD = re.compile(r"[a-z]+(?:_[a-z0-9]+)+")

every_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)


def _code(page: Page) -> list[str]:
    """Everything on a page that is meant for a machine: spans and commands."""
    return [*page.spans(), *page.commands()]


@cache
def _definitions(path: Path) -> frozenset[str]:
    """The qualified names that a module defines: functions, classes, methods, constants."""
    names = set()

    def add(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                names.add(prefix + node.name)
            if isinstance(node, ast.ClassDef):
                add(node.body, f"{prefix}{node.name}.")
            targets: list[ast.expr] = node.targets if isinstance(node, ast.Assign) else []
            if isinstance(node, ast.AnnAssign):
                targets = [node.target]
            names.update(prefix + one.id for one in targets if isinstance(one, ast.Name))

    add(ast.parse(path.read_text(encoding="utf-8")).body, "")
    return frozenset(names)


@cache
def _sources() -> str:
    folders = ("src", "examples", "zoo", "benchmarks", "tests/unit", "tests/e2e")
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    files += PACKAGE.rglob("*.proto")
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


@every_page
def test_links_lead_somewhere(path: Path) -> None:
    page = read(path)
    for link in page.links():
        if link.startswith(("http://", "https://")):
            continue
        file, _, section = link.partition("#")
        target = path.parent / file if file else path
        assert target.exists(), link
        if section:
            assert section in [anchor(text) for _, text in read(target).headings()], link


@every_page
def test_files_exist(path: Path) -> None:
    for span in read(path).spans():
        folder, slash, _ = span.partition("/")
        if slash and folder in _FOLDERS and re.fullmatch(r"[\w./-]+", span):
            assert (ROOT / span).exists(), span
        elif re.fullmatch(r"\w+/[\w/]+\.py", span):
            assert (PACKAGE / span).exists(), span


@every_page
def test_functions_exist_where_they_are_said_to_be(path: Path) -> None:
    for file, name in _CODE.findall(" ".join(read(path).spans())):
        folder = ROOT if file.partition("/")[0] in _FOLDERS else PACKAGE
        assert (folder / file).exists(), file
        assert name in _definitions(folder / file), f"{file}:{name}"


@every_page
def test_setting_keys_exist(path: Path) -> None:
    known = {setting.key for setting in listing()}
    for span in read(path).spans():
        if _KEY.fullmatch(span):
            assert span in known, span


def test_knobs_and_limits_are_settings() -> None:
    known = {*ServerSettings.model_fields, *ModelSettings.model_fields}
    knobs = [row for row in read(ROOT / "docs/scheduling.md").rows() if len(row) == 3][1:]
    names = [name for row in knobs for name in re.findall(r"`(\w+)`", row[0])]
    assert names
    assert set(names) <= known


def test_limits_have_the_bounds_that_are_the_defaults() -> None:
    fields = ServerSettings.model_fields | ModelSettings.model_fields
    text = " ".join(" ".join(row) for row in read(ROOT / "docs/operating.md").rows())
    found = re.findall(r"`(?:server\.)?(\w+)`, (\d+)", text)
    assert len(found) >= 4
    for name, value in found:
        assert fields[name].default == int(value), name


@every_page
def test_variables_exist(path: Path) -> None:
    known = {setting.variable for setting in listing()}
    for name in re.findall(r"HEADRACE_[A-Z][A-Z0-9_]*", read(path).text):
        assert name in known, name


@every_page
def test_flags_exist(path: Path) -> None:
    for code in _code(read(path)):
        for name in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", code):
            assert name in _FLAGS, name


@every_page
def test_make_targets_exist(path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z0-9]+):", makefile, re.MULTILINE))
    for code in _code(read(path)):
        for name in re.findall(r"^make ([a-z0-9]+)", code):
            assert name in targets, name


@every_page
def test_modules_that_are_run_exist(path: Path) -> None:
    for code in _code(read(path)):
        for name in re.findall(r"python -m ([\w.]+)", code):
            assert name == "pip" or importlib.util.find_spec(name) is not None, name
        for name in re.findall(r"zoo fetch ([\w-]+)", code):
            assert name in MODELS, name


@every_page
def test_names_with_an_underscore_are_words_of_the_code(path: Path) -> None:
    if path.name == "conformance.md":
        return  # full of the methods of others
    for span in read(path).spans():
        if _WORD.fullmatch(span) and not span.startswith("headrace_"):
            assert re.search(rf"\b{span}\b", _sources()), span


def test_log_events_are_logged() -> None:
    rows = read(ROOT / "docs/operating.md").rows()
    events = [row[0].strip("`") for row in rows if row[1:2] and row[1] in {"info", "error"}]
    assert len(events) > 5
    for event in events:
        assert f'"{event}"' in _sources(), event


def test_words_of_the_glossary_stand_once_and_in_order() -> None:
    words = [row[0] for row in read(ROOT / "docs/glossary.md").rows()][1:]
    assert len(words) > 20
    assert words == sorted(set(words))
