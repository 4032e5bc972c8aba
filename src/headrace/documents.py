"""YAML files as plain values that remember the line of every key.

Both files that people write, ``headrace.yaml`` and ``card.yaml``, are read here, so that a message
about a key can name its line.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from headrace.errors import SettingsError
from headrace.urls import FILE, is_url

# No settings and no card are larger, and the parser reads a megabyte in some seconds.
_MOST_BYTES = 4 * 2**20
# Half of a surrogate pair, which an escape can write, and which nothing that is sent may have.
_HALF = re.compile("[\ud800-\udfff]")
# Values, aliases put in place: of eleven lines they can make ten billion.
_MOST_VALUES = 100_000
_MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    """Takes for a bool or a number what every version of YAML takes for the same one.

    All else is text, which whoever wants a number reads as we do: ``010`` is ten, ``1:30`` is none,
    and ``off`` is the word. What PyYAML writes is read as it was meant, for it quotes more.
    """


_Loader.yaml_implicit_resolvers = {}
for _kind, _begins, _pattern in (
    ("merge", "<", r"<<"),
    ("null", "~nN", r"~|null|Null|NULL"),
    ("bool", "tTfF", r"true|True|TRUE|false|False|FALSE"),
    ("int", "-+0123456789", r"[-+]?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+"),
    ("float", "-+.0123456789", r"([-+]?[0-9]+\.[0-9]*|\.[0-9]+)([eE][-+][0-9]+)?"),
    ("float", "-+.", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"),
    ("null", "", ""),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_kind}", re.compile(rf"({_pattern})\Z"), list(_begins) or [""]
    )

Key = tuple[str | int, ...]
"""The way to a value: ``("models", 0, "slo_ms")``."""


class Document(NamedTuple):
    """Settings as somebody wrote them, unchecked.

    ``origins`` says where each key stands, for people: ``"headrace.yaml:3"``,
    ``"environment HEADRACE_SERVER__PORT"``, ``"flag --port"``.
    """

    data: dict[str, Any]
    origins: dict[Key, str]

    def put(self, key: tuple[str, ...], value: Any, origin: str) -> None:
        """Set the value at a key, making the sections on the way."""
        *sections, name = key
        target = self.data
        for section in sections:
            target = target.setdefault(section, {})
        target[name] = value
        self.origins[key] = origin


def dotted(key: Key) -> str:
    """Write a key as people do: ``models[0].slo_ms``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key)
    return text.removeprefix(".")


def read(path: Path) -> Document:
    """Read a YAML file; an empty one is an empty document.

    Raises:
        SettingsError: it cannot be read, is too large, is not YAML, repeats a key, or is not keys
            and values.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise SettingsError(f"{path}: is larger than {_MOST_BYTES} bytes; no settings are")
        return parse(content.decode(), str(path))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: is not UTF-8 text (byte {error.start})") from error


def parse(text: str, source: str) -> Document:
    """Parse YAML text; ``source`` is what messages call it.

    Raises:
        SettingsError: it is not YAML, repeats a key, is not keys and values, or has too many.
    """
    try:
        node = _compose(text)
        if node is None:
            return Document({}, {})
        if not isinstance(node, yaml.MappingNode):
            line = node.start_mark.line + 1
            raise SettingsError(f"{source}:{line}: should be keys and values, as in `port: 8000`")
        reader = _Reader(source)
        data = reader.mapping(node, ())
    except yaml.YAMLError as error:
        raise SettingsError(_syntax(source, error)) from error
    except RecursionError as error:
        raise SettingsError(f"{source}: nested too deeply, or an alias refers to itself") from error
    if reader.problems:
        raise SettingsError("\n".join(reader.problems))
    return Document(data, reader.origins)


def _compose(text: str) -> yaml.Node | None:
    """Read text as nodes, whose values are still text.

    Raises:
        YAMLError: it is not YAML.
    """
    loader = _Loader(text)
    try:
        return loader.get_single_node()
    except (ValueError, OverflowError) as error:  # a number in an escape or a directive
        raise yaml.MarkedYAMLError(problem=str(error), problem_mark=loader.get_mark()) from error
    finally:
        loader.dispose()


def merge(layers: Iterable[Document]) -> Document:
    """Lay each document over those before it: key by key within a section, values whole.

    A section that is no mapping stays where keys in it are set, so that it is told of.
    """
    merged = Document({}, {})
    for layer in layers:
        for section, value in layer.data.items():
            below = merged.data.get(section)
            if isinstance(value, dict) and isinstance(below, dict):
                _forget(merged.origins, [(section, name) for name in value])
                merged.data[section] = below | value
            elif below is None or (section,) in layer.origins:
                _forget(merged.origins, [(section,)])
                merged.data[section] = value
        merged.origins.update(layer.origins)
    return merged


def _forget(origins: dict[Key, str], replaced: list[Key]) -> None:
    for key in [key for key in origins if any(key[: len(over)] == over for over in replaced)]:
        del origins[key]


def anchor_paths(entry: dict[str, Any], file: Path) -> None:
    """Make the relative paths that a model's keys hold relative to the file they are in, in place.

    Raises:
        SettingsError: one can be no path.
    """
    for name in ("path", "labels"):
        if name in entry:
            entry[name] = anchored(entry[name], name, file)
    accepts = entry.get("accepts")
    for accepted in accepts if isinstance(accepts, list) else ():
        if isinstance(accepted, dict) and "tokenizer" in accepted:
            accepted["tokenizer"] = anchored(accepted["tokenizer"], "tokenizer", file)


def anchored(said: Any, name: str, file: Path) -> Any:
    """Make a path that a file has somewhere one that is relative to the file, or somebody's home.

    What is a URL, empty or no text is left to who checks it.

    Raises:
        SettingsError: it can be no path.
    """
    if not isinstance(said, str) or is_url(said):
        return said
    text = said.removeprefix(FILE)
    if not text:
        return said
    if "\0" in text:
        raise SettingsError(f"{file}: {name}: {text!r} is no path: it has a zero byte")
    return str(file.parent / expand(text))


def expand(path: str | Path) -> Path:
    """Put a home in place of ``~``; that of nobody is a name, as in a shell."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - the other raises for nobody's


def at_home(path: str | Path) -> Path | None:
    """The same; None: this user has no home, for containers may give any number."""
    found = expand(path)
    return None if str(found).startswith("~") else found


def _syntax(source: str, error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{source}:{mark.line + 1}: is not valid YAML: {error.problem}"
    return f"{source}: is not valid YAML: {' '.join(str(error).split())}"


def _not_as_tagged(node: yaml.ScalarNode) -> yaml.MarkedYAMLError:
    kind = node.tag.rpartition(":")[2]
    return yaml.MarkedYAMLError(
        problem=f"this is not what its tag says, {kind}", problem_mark=node.start_mark
    )


class _Reader:
    """Turns nodes into values and notes the line of each."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._scalars = yaml.constructor.SafeConstructor()
        self._room = _MOST_VALUES
        self._seen: set[int] = set()
        self.origins: dict[Key, str] = {}
        self.problems: list[str] = []

    def mapping(self, node: yaml.MappingNode, key: Key) -> dict[Any, Any]:
        """Read keys and values; a repeated key is a problem, for YAML would drop the first."""
        self._refuse_repeats(node, key)
        self._scalars.flatten_mapping(node)  # `<<: *anchor`
        values = {}
        for name_node, value_node in node.value:
            name = self._scalar(name_node)
            here = (*key, name)
            self.origins[here] = self._line(name_node)
            if isinstance(name, bool) or not isinstance(name, str | int):
                self.problems.append(
                    f"{self._line(name_node)}: {dotted((*key, name_node.value))}: a key should be "
                    "text: put it in quotes"
                )
            values[name] = self._value(value_node, here)
        return values

    def _value(self, node: yaml.Node, key: Key) -> Any:
        self._spend()
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, key)
        if isinstance(node, yaml.SequenceNode):
            items = []
            for index, item in enumerate(node.value):
                self.origins[*key, index] = self._line(item)
                items.append(self._value(item, (*key, index)))
            return items
        return self._scalar(node)

    def _scalar(self, node: yaml.Node) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            raise yaml.MarkedYAMLError(problem="a key must be text", problem_mark=node.start_mark)
        if _HALF.search(node.value):
            raise yaml.MarkedYAMLError(
                problem="half of a surrogate pair is no text", problem_mark=node.start_mark
            )
        # Where it has a tag, constructors do not look whether it is what that says.
        try:
            value = self._scalars.construct_object(node)
        except ValueError:  # looks like a date or a number and is none: then it is text
            return node.value
        except (LookupError, AttributeError, TypeError, OverflowError) as error:
            raise _not_as_tagged(node) from error
        if isinstance(value, list | dict | set):
            raise _not_as_tagged(node)
        return value

    def _spend(self) -> None:
        """Count one more value, also one that an alias names again.

        Raises:
            SettingsError: there are more than any settings have.
        """
        self._room -= 1
        if self._room < 0:
            raise SettingsError(
                f"{self._source}: has more than {_MOST_VALUES} values, its aliases put in place; "
                "no settings have"
            )

    def _refuse_repeats(self, node: yaml.MappingNode, key: Key) -> None:
        if id(node) in self._seen:  # by an alias, and what it merges may be flattened into it
            return
        self._seen.add(id(node))
        first: dict[str, str] = {}
        for name_node, value_node in node.value:
            if name_node.tag == _MERGE:
                self._refuse_repeats_of_merged(value_node, key)
            name = str(name_node.value)
            line = self._line(name_node)
            if name in first:
                self.problems.append(
                    f"{line}: {dotted((*key, name))}: given twice, first at {first[name]}"
                )
            first.setdefault(name, line)

    def _refuse_repeats_of_merged(self, node: yaml.Node, key: Key) -> None:
        for one in node.value if isinstance(node, yaml.SequenceNode) else (node,):
            if isinstance(one, yaml.MappingNode):
                self._refuse_repeats(one, key)

    def _line(self, node: yaml.Node) -> str:
        return f"{self._source}:{node.start_mark.line + 1}"
