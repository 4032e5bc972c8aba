"""The Chinese README says what the English one says."""

from __future__ import annotations

import re

from tests.docs.markdown import ROOT, read

ENGLISH = read(ROOT / "README.md")
CHINESE = read(ROOT / "README.zh-CN.md")


def test_it_has_the_same_code() -> None:
    assert CHINESE.fences() == ENGLISH.fences()


def test_it_has_the_same_headings() -> None:
    levels = [level for level, _ in ENGLISH.headings()]
    assert [level for level, _ in CHINESE.headings()] == levels


def test_it_leads_to_the_same_places() -> None:
    outside = [link for link in ENGLISH.links() if not link.startswith(("#", "README"))]
    assert [link for link in CHINESE.links() if not link.startswith(("#", "README"))] == outside


def test_its_tables_and_lists_are_as_long() -> None:
    for pattern in (r"^\|", r"^- "):
        found = [len(re.findall(pattern, page.text, re.MULTILINE)) for page in (ENGLISH, CHINESE)]
        assert found[0] == found[1], pattern


def test_each_names_the_other() -> None:
    assert "README.zh-CN.md" in ENGLISH.links()
    assert "README.md" in CHINESE.links()
