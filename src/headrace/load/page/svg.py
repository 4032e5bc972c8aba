"""Drawings as SVG that stands in a page and takes its colours, in light and in dark."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

from headrace.errors import BackendMissing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {
    "ink": "#010203",
    "faint": "#010204",
    "quiet": "#01020a",
    "one": "#010205",
    "two": "#010206",
    "three": "#010207",
    "four": "#010208",
    "bad": "#010209",
}
"""Names of the page's colours, and what stands for them until the drawing is text."""

_INCHES = (5.2, 3.1)
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: small, and found by a search in the page
    "text.parse_math": False,  # a dollar is one: names and what servers say are drawn too
    "font.size": 9,
    "font.family": "sans-serif",
    "text.color": COLOURS["ink"],
    "axes.edgecolor": COLOURS["faint"],
    "axes.labelcolor": COLOURS["ink"],
    "xtick.color": COLOURS["ink"],
    "ytick.color": COLOURS["ink"],
    "axes.grid": True,
    "grid.color": COLOURS["faint"],
    "grid.linewidth": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def check() -> None:
    """See that there is something to draw with, before anything is measured.

    Raises:
        BackendMissing: there is not.
    """
    try:
        import matplotlib  # noqa: F401, ICN001, PLC0415 - an extra
    except ImportError as error:
        raise BackendMissing("--report needs matplotlib: pip install 'headrace[report]'") from error


def canvas(panels: int = 1) -> tuple[Figure, list[Axes]]:
    """Give a figure with panels one above the other, to draw on and hand to ``to_svg``."""
    import matplotlib as mpl  # noqa: PLC0415 - an extra
    from matplotlib.figure import Figure  # noqa: PLC0415 - the same

    with mpl.rc_context(_STYLE):
        figure = Figure(
            figsize=(_INCHES[0], _INCHES[1] * (1 + 0.5 * (panels - 1))), layout="constrained"
        )
        grid = figure.subplots(panels, 1, sharex=True, squeeze=False)
    return figure, [row[0] for row in grid]


def to_svg(figure: Figure, name: str) -> str:
    """Write a figure; ``name`` keeps its inner names apart from those of others on the page."""
    import matplotlib as mpl  # noqa: PLC0415 - an extra
    from matplotlib.text import Text  # noqa: PLC0415 - the same

    for words in figure.findobj(Text):
        words.set_parse_math(False)
    text = io.StringIO()
    with mpl.rc_context(_STYLE | {"svg.hashsalt": name}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    drawn = text.getvalue()
    drawn = drawn[drawn.index("<svg ") :]
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.DOTALL)
    head, rest = drawn.split(">", 1)
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    for colour, code in COLOURS.items():
        rest = rest.replace(code, f"var(--{colour})")
    return f"{head}>{rest}"
