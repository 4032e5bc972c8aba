"""A command's grammar: it names the flag that was meant by one that it does not know."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import Any

from headrace.problems import nearest


class CommandParser(argparse.ArgumentParser):
    """Refuses what it does not know with its own usage, not that of all commands.

    PATHs may stand between flags, of which ``argparse`` takes the first few only.
    """

    def parse_known_args(
        self, args: Iterable[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Parse; nothing is left over."""
        # Before a flag is missed that was given by another name. What is behind an action it sees.
        words = None if args is None else list(args)
        if words is not None:
            self._refuse(self._unknown([*takewhile(self._is_no_action, words)]))
        options, left = super().parse_known_args(words, namespace)
        if "paths" not in options:
            self._refuse(left)
        at = left.index("--") if "--" in left else len(left)  # behind it a path may begin with -
        self._refuse([text for text in left[:at] if text.startswith("-")])
        if left:
            options.paths += left[:at] + left[at + 1 :]
        return options, []

    def _is_no_action(self, word: str) -> bool:
        below = [] if self._subparsers is None else self._subparsers._group_actions  # noqa: SLF001
        return all(word not in (one.choices or ()) for one in below)

    def _unknown(self, words: Sequence[str]) -> list[str]:
        """The flags among them that are none of ours; with ``--help`` nothing else matters."""
        flags = list(words[: words.index("--")] if "--" in words else words)
        if not {"-h", "--help"}.isdisjoint(flags):
            return []
        known = self._option_string_actions
        return [
            text
            for text in flags
            # With a space in it, ``argparse`` takes it for a value.
            if text.startswith("--") and " " not in text and text.partition("=")[0] not in known
        ]

    def _refuse(self, left: Sequence[str]) -> None:
        if not left:
            return
        flags = [text for text in self._option_string_actions if text.startswith("--")]
        asked = [text.partition("=")[0].replace("_", "-") for text in left if text[:2] == "--"]
        meant = dict.fromkeys(one for text in asked if (one := nearest(text, flags)))
        hint = f"; did you mean {', '.join(meant)}?" if meant else ""
        self.error(f"unrecognized arguments: {' '.join(left)}{hint}")
