"""Protobuf's text format as a tree in which every field knows its line.

``google.protobuf.text_format`` wants a schema, forgets lines and drops what the schema lacks; to
say where a value came from and what we do not know, this keeps everything. The grammar is that of
https://protobuf.dev/reference/protobuf/textformat-spec/.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from headrace.errors import SettingsError

# Deeper than any configuration, and far from Python's own limit.
_DEEPEST = 64
_TOKEN = re.compile(
    r"""(?P<blank>[ \t\r\n\f\v]+|\#[^\n]*)
      | (?P<text>"(?:[^"\\\n]|\\[^\n])*"|'(?:[^'\\\n]|\\[^\n])*')
      | (?P<word>-?[ ]*(?:[A-Za-z_][A-Za-z0-9_]*
                        |0[xX][0-9a-fA-F]+
                        |(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[fF]?))
      | (?P<mark>[{}<>\[\]:;,/.])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(
    r"\\(?:[xX](?P<hex>[0-9a-fA-F]{1,2})|(?P<octal>[0-7]{1,3})"
    r"|u(?P<short>[0-9a-fA-F]{4})|U(?P<long>[0-9a-fA-F]{8})|(?P<one>[abfnrtv?'\"\\]))|\\."
)
_PLAIN = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WHOLE = re.compile(r"-?(0[xX][0-9a-fA-F]+|[0-9]{1,40})")
_CLOSING = {"{": "}", "<": ">"}
_WORDS = {
    "true": True, "True": True, "t": True, "1": True,
    "false": False, "False": False, "f": False, "0": False,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Word:
    """A scalar as written: a number, a name, or text whose escapes are undone."""

    text: str
    quoted: bool


@dataclass(frozen=True, slots=True)
class Message:
    """Fields in the order written."""

    fields: tuple[Field, ...]
    _named: dict[str, tuple[Field, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Once: of a message of thousands of fields each may be asked for by its name.
        named: dict[str, list[Field]] = {}
        for one in self.fields:
            named.setdefault(one.name, []).append(one)
        object.__setattr__(self, "_named", {name: tuple(them) for name, them in named.items()})

    def all(self, name: str) -> tuple[Field, ...]:
        """The fields of that name."""
        return self._named.get(name, ())

    def one(self, name: str) -> Field | None:
        """The only field of that name.

        Raises:
            SettingsError: there are more.
        """
        found = self.all(name)
        if len(found) > 1:
            raise SettingsError(f"{found[1].place}: {name}: given twice, first at {found[0].place}")
        return found[0] if found else None


@dataclass(frozen=True, slots=True)
class Field:
    """One field, or one of the values of a repeated field; ``place`` is its file and line."""

    name: str
    value: Word | Message
    place: str

    def message(self) -> Message:
        """The fields in it; the accessors below are for scalars.

        Raises:
            SettingsError: it is a scalar.
        """
        if isinstance(self.value, Message):
            return self.value
        raise self._wrong("fields in braces")

    def text(self) -> str:
        """Return text.

        Raises:
            SettingsError: it is none.
        """
        if isinstance(self.value, Word) and self.value.quoted:
            return self.value.text
        raise self._wrong("text in quotes")

    def name_of(self) -> str:
        """Return the name of an enum's member, or its number as text.

        Raises:
            SettingsError: it is neither.
        """
        if isinstance(self.value, Word) and not self.value.quoted:
            return self.value.text
        raise self._wrong("a name")

    def whole(self) -> int:
        """Return a whole number.

        Raises:
            SettingsError: it is none.
        """
        word = self.value
        if isinstance(word, Word) and not word.quoted and _WHOLE.fullmatch(word.text):
            digits = word.text.removeprefix("-")
            base = 16 if digits[:2] in {"0x", "0X"} else 8 if digits[0] == "0" else 10
            try:
                return int(digits, base) * (-1 if word.text[0] == "-" else 1)
            except ValueError:  # an octal number with an 8 in it
                pass
        raise self._wrong("a whole number")

    def flag(self) -> bool:
        """Return true or false.

        Raises:
            SettingsError: it is neither.
        """
        word = self.value
        if isinstance(word, Word) and not word.quoted and word.text in _WORDS:
            return _WORDS[word.text]
        raise self._wrong("true or false")

    def shown(self) -> str:
        """The value for people, in one short line."""
        if isinstance(self.value, Message):
            return "{…}" if self.value.fields else "{}"
        text = ascii(self.value.text)[1:-1]
        return text if len(text) <= 40 else f"{text[:39]}…"  # noqa: PLR2004 - fits a table

    def _wrong(self, wanted: str) -> SettingsError:
        shown = self.shown()
        if isinstance(self.value, Word) and self.value.quoted:  # which may be what is wrong
            shown = f'"{shown}"'
        return SettingsError(f"{self.place}: {self.name}: should be {wanted}, not {shown}")


def parse(text: str, source: str) -> Message:
    """Read text format; ``source`` is what messages call the file.

    Raises:
        SettingsError: it is no text format; with the line.
    """
    return _Reader(list(_tokens(text, source)), source).fields("", 0)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    line: int


def _tokens(text: str, source: str) -> Iterator[_Token]:
    at, line = 0, 1
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise SettingsError(f"{source}:{line}: unexpected {text[at]!a}")
        if found.lastgroup != "blank":
            yield _Token(str(found.lastgroup), found[0], line)
        line += found[0].count("\n")
        at = found.end()
    yield _Token("end", "", line)


class _Reader:
    """Goes through the tokens once."""

    def __init__(self, tokens: list[_Token], source: str) -> None:
        self._tokens = tokens
        self._at = 0
        self._source = source

    def fields(self, closing: str, depth: int) -> Message:
        """Read fields up to the closing mark; none: up to the end."""
        if depth > _DEEPEST:
            raise self._wrong(f"nested deeper than {_DEEPEST}")
        read: list[Field] = []
        while True:
            token = self._next()
            if token.text == closing and token.kind in {"mark", "end"}:
                return Message(tuple(read))
            if token.kind == "end":
                raise self._wrong(f"the file ends where a {closing} is missing", token)
            read += self._field(token, depth)
            self._skip(",") or self._skip(";")

    def _field(self, token: _Token, depth: int) -> list[Field]:
        name = self._extension() if token.text == "[" and token.kind == "mark" else token.text
        if name == token.text and not (token.kind == "word" and _NAME.fullmatch(name)):
            raise self._wrong(f"expected a field's name, not {token.text!a}", token)
        place = f"{self._source}:{token.line}"
        colon = self._skip(":")
        if self._skip("["):
            return [Field(name, value, where) for value, where in self._list(depth)]
        if not colon and self._peek().text not in _CLOSING:
            raise self._wrong(f"expected a colon after {name}", self._peek())
        return [Field(name, self._value(depth), place)]

    def _list(self, depth: int) -> Iterator[tuple[Word | Message, str]]:
        if self._skip("]"):
            return
        while True:
            place = f"{self._source}:{self._peek().line}"
            yield self._value(depth), place
            if self._skip("]"):
                return
            if not self._skip(","):
                raise self._wrong("expected , or ] in a list", self._peek())

    def _value(self, depth: int) -> Word | Message:
        token = self._next()
        if token.kind == "mark" and token.text in _CLOSING:
            return self.fields(_CLOSING[token.text], depth + 1)
        if token.kind == "word":
            return Word(token.text.replace(" ", ""), quoted=False)
        if token.kind != "text":
            raise self._wrong(f"expected a value, not {token.text or 'the end'}", token)
        parts = [self._unescaped(token)]
        while self._peek().kind == "text":  # neighbours are one text
            parts.append(self._unescaped(self._next()))
        try:
            return Word(b"".join(parts).decode(), quoted=True)
        except UnicodeDecodeError as error:
            raise self._wrong("the text is not UTF-8", token) from error

    def _extension(self) -> str:
        """The rest of a ``[full.name]``."""
        words = []
        while not self._skip("]"):
            token = self._next()
            if token.kind not in {"word", "mark"} or token.text in "{}<>[:;,":
                raise self._wrong("expected ] after the name of an extension", token)
            words.append(token.text)
        return f"[{''.join(words)}]"

    def _unescaped(self, token: _Token) -> bytes:
        parts, at, body = [], 0, token.text[1:-1]
        for found in _ESCAPE.finditer(body):
            parts += [body[at : found.start()].encode(), self._escape(found, token)]
            at = found.end()
        return b"".join([*parts, body[at:].encode()])

    def _escape(self, found: re.Match[str], token: _Token) -> bytes:
        value = found[found.lastgroup] if found.lastgroup else ""
        match found.lastgroup:
            case "hex":
                return bytes([int(value, 16)])
            case "octal" if int(value, 8) < 256:  # noqa: PLR2004 - a byte
                return bytes([int(value, 8)])
            case "one":
                return _PLAIN.get(value, value).encode()
            case "short" | "long":
                try:
                    return chr(int(value, 16)).encode()
                except (ValueError, OverflowError):
                    pass
        raise self._wrong(f"{found[0]} is no character", token)

    def _peek(self) -> _Token:
        return self._tokens[self._at]

    def _next(self) -> _Token:
        token = self._tokens[self._at]
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return token

    def _skip(self, mark: str) -> bool:
        """Go past the mark if it is next."""
        here = self._peek()
        if here.kind == "mark" and here.text == mark:
            self._at += 1
            return True
        return False

    def _wrong(self, words: str, token: _Token | None = None) -> SettingsError:
        line = (token or self._tokens[max(self._at - 1, 0)]).line
        return SettingsError(f"{self._source}:{line}: {words}")
