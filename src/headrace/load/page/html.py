"""The page: what was done, whether to believe it, the numbers, the drawings, and the JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.metadata import version
from typing import Any

_STYLE = """
:root { color-scheme: light dark; --ground: #fff; --ink: #1c2127; --quiet: #5c6670;
  --faint: #d3d9df; --one: #1668b8; --two: #c2410c; --three: #6d28a8; --four: #15803d;
  --bad: #b3261e; --good: #15803d; }
@media (prefers-color-scheme: dark) { :root { --ground: #14181c; --ink: #e3e8ed;
  --quiet: #9aa5b0; --faint: #39424b; --one: #6cb2f5; --two: #fb923c; --three: #c595f5;
  --four: #5fce86; --bad: #ff8a80; --good: #5fce86; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 66rem; background: var(--ground);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; overflow-wrap: anywhere; }
p { margin: .4rem 0; max-width: 46rem; }
.quiet, figcaption { color: var(--quiet); font-size: .9rem; }
.verdict { border-left: .3rem solid var(--good); padding: .2rem .8rem; margin: 1rem 0; }
.verdict.bad { border-color: var(--bad); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--faint);
  vertical-align: top; }
th { font-weight: 600; }
td.number, th.number { text-align: right; white-space: nowrap; }
.drawings { display: grid; gap: 1.5rem; margin: 1.5rem 0;
  grid-template-columns: repeat(auto-fill, minmax(min(26rem, 100%), 1fr)); }
figure { margin: 0; min-width: 0; }
svg { width: 100%; height: auto; display: block; }
pre { overflow-x: auto; font-size: .8rem; }
"""


@dataclass(frozen=True, slots=True)
class Table:
    """A table; so many of its columns, after the first, are numbers."""

    heads: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    numbers: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """What a page says.

    Attributes:
        title: what was loaded.
        how: how, in a sentence.
        verdict: what came of it, in a sentence.
        failed: the verdict is a bad one.
        tables: the numbers.
        drawings: SVG, and what it shows.
        document: all of it as JSON.
    """

    title: str
    how: str
    verdict: str
    failed: bool
    tables: tuple[Table, ...]
    drawings: tuple[tuple[str, str], ...]
    document: dict[str, Any]


def render(page: Page) -> str:
    """Write the page, whole: nothing is fetched by who reads it."""
    return "".join(
        (
            "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>",
            "<meta name='viewport' content='width=device-width, initial-scale=1'>",
            f"<title>{escape(page.title)}</title><style>{_STYLE}</style></head><body>\n",
            f"<h1>{escape(page.title)}</h1>\n<p class='quiet'>{escape(page.how)}</p>\n",
            f"<p class='verdict{' bad' if page.failed else ''}'>{escape(page.verdict)}</p>\n",
            *map(_table, page.tables),
            _drawings(page.drawings),
            "<details><summary>As JSON</summary><pre>",
            escape(json.dumps(page.document, indent=2)),
            f"</pre></details>\n<p class='quiet'>headrace {version('headrace')}</p>\n",
            "</body></html>\n",
        )
    )


def _table(table: Table) -> str:
    right = range(1, 1 + table.numbers)
    kinds = [" class='number'" if place in right else "" for place in range(len(table.heads))]
    head = _cells("th", table.heads, kinds) if any(table.heads) else ""
    body = "".join(_cells("td", row, kinds) for row in table.rows)
    return f"<div class='scroll'><table>{head}{body}</table></div>\n"


def _cells(tag: str, row: Iterable[str], kinds: Iterable[str]) -> str:
    cells = (f"<{tag}{kind}>{escape(text)}</{tag}>" for text, kind in zip(row, kinds, strict=True))
    return f"<tr>{''.join(cells)}</tr>\n"


def _drawings(drawings: Sequence[tuple[str, str]]) -> str:
    figures = (
        f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>\n"
        for svg, caption in drawings
    )
    return f"<div class='drawings'>\n{''.join(figures)}</div>\n" if drawings else ""
