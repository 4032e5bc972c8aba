"""Tables for terminals: they leave the width to what they say, and know when it is not enough.

And text of others, which a terminal might take for orders.
"""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

# Wider than any terminal.
_UNBOUNDED = 100_000


def table(title: Text | str | None = None) -> Table:
    """An empty table with a line under its heads and none elsewhere, two spaces between columns."""
    return Table(
        title=title,
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )


def fits(what: RenderableType, console: Console) -> bool:
    """Whether it can be printed without a word being broken or a line folded."""
    options = console.options.update(max_width=_UNBOUNDED)
    return console.measure(what, options=options).maximum <= console.width


def visible(text: str, kept: str = "") -> str:
    """Text of others with what cannot be printed as escapes, but for the characters ``kept``.

    As they are, a terminal would do what control characters say.
    """
    return "".join(c if c.isprintable() or c in kept else ascii(c)[1:-1] for c in text)
