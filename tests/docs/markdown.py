"""The documentation as data: its pages, and what stands in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "headrace"
GENERATED = ("settings.md", "errors.md")

PAGES = (
    ROOT / "README.md",
    ROOT / "README.zh-CN.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").glob("*.md")),
)

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^(#{1,6}) +(.+?) *$", re.MULTILINE)
_COMMENT = re.compile(r"(?:^|\s)#(?:\s.*)?$")


class Fence(NamedTuple):
    """A block of code: its language and its text."""

    language: str
    text: str


class Page(NamedTuple):
    """One page of the documentation."""

    path: Path
    text: str

    @property
    def name(self) -> str:
        """Its path from the root, for messages."""
        return str(self.path.relative_to(ROOT))

    @property
    def prose(self) -> str:
        """The text without its blocks of code."""
        return _FENCE.sub("", self.text)

    def fences(self, *languages: str) -> list[Fence]:
        """The blocks of code, of some languages or of all."""
        found = [Fence(match[1], match[2]) for match in _FENCE.finditer(self.text)]
        return [fence for fence in found if not languages or fence.language in languages]

    def spans(self) -> list[str]:
        """What stands in backticks."""
        return _SPAN.findall(self.prose)

    def links(self) -> list[str]:
        """Where its links and pictures lead."""
        return _LINK.findall(self.prose)

    def headings(self) -> list[tuple[int, str]]:
        """Level and text of its headings."""
        return [(len(match[1]), match[2]) for match in _HEADING.finditer(self.prose)]

    def rows(self) -> list[list[str]]:
        """The cells of every row of its tables, headings among them."""
        lines = [line for line in self.prose.splitlines() if line.startswith("|")]
        cells = [re.split(r"(?<!\\)\|", line.strip().strip("|")) for line in lines]
        return [[cell.strip() for cell in row] for row in cells if not set("".join(row)) <= {*"-:"}]

    def commands(self) -> Iterator[str]:
        """The lines of its shell blocks, without comments."""
        for fence in self.fences("shell"):
            yield from commands(fence)


def commands(fence: Fence) -> Iterator[str]:
    """The commands of a shell block, those over several lines put together."""
    for line in fence.text.replace("\\\n", " ").splitlines():
        if command := _COMMENT.sub("", line).strip():
            yield command


def read(path: Path) -> Page:
    """Read a page."""
    return Page(path, path.read_text(encoding="utf-8"))


def anchor(heading: str) -> str:
    """The anchor that a heading gets where Markdown is shown on the web."""
    plain = re.sub(r"[^\w\- ]", "", heading.lower())
    return plain.replace(" ", "-")
