"""Writes what is generated from the code: ``python docs/build.py [--check]``.

``settings.md`` comes from the settings tree and the command line, ``errors.md`` from the error
tree. Other pages have generated blocks, between ``<!-- generated: NAME -->`` and ``<!-- end -->``:
the moves of a version, the figures of benchmarks, what becomes of other servers' settings. With
``--check`` nothing is written; the exit status says whether all of it is current.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from headrace import errors
from headrace.accepts import AcceptedAudio, AcceptedImage, AcceptedText
from headrace.cli import MODEL_FLAGS, SERVER_FLAGS, flag
from headrace.declared import DeclaredSignature, DeclaredTensor
from headrace.group import Group
from headrace.importers import tfserving, triton
from headrace.importers.rules import Rule
from headrace.layers import Setting, listing
from headrace.loader.lifecycle import TRANSITIONS
from headrace.normalise import Normalised
from headrace.settings import Card, ModelSettings, ResultStep, Sequence, StateTensor
from headrace.verify import Verify

sys.path.insert(0, str(Path(__file__).parents[1]))  # of a script, only its own folder is on it

from docs.summary import CHINESE, ENGLISH, RESULTS, summary

FOLDER = Path(__file__).parent
_INNER = "*."
_NOTE = "<!-- Written by docs/build.py: change the code, then run `python docs/build.py`. -->\n"

_SETTINGS = """# Settings

A setting can come from four places. The first that says something wins:

1. a flag of `headrace serve`,
2. an environment variable `HEADRACE_...`,
3. the settings file (`headrace serve headrace.yaml`, or `--config`),
4. the default.

A model's own settings are found in the same way, from the nearest to the farthest: a flag (it holds
for every model served), its entry under `models`, the `card.yaml` beside the model, `defaults`, its
[tuned card](models.md#the-tuned-card), the built-in default. Lists and mappings are replaced whole,
not merged.

Unknown keys and unknown `HEADRACE_` variables are errors. `headrace check headrace.yaml` names
every bad key with its line; once there is none, every entry of `models` that cannot be served so,
with its; and lists the models it finds without loading them. An empty variable counts as not set,
and so does one of spaces; those around a value are no part of it. An empty text in a file or a flag
is no path, and an error: write `null` for none. What Kubernetes sets in pods beside a Service
called `headrace` (`..._SERVICE_HOST`, `..._PORT=tcp://...` and the like) is left alone.

In a variable, write a list of text with commas, other lists and mappings as JSON or YAML. (Text in
`HEADRACE_DEFAULTS__LABELS` is the path of a file, so a list of labels is JSON, too.) Paths in a
file are relative to that file, or to a home where they begin with `~`; others to the working
directory.

In a file, `true` and `false` are the only words that YAML makes no text of, besides `null`; where
true or false is wanted, `yes`, `no`, `on` and `off` will do. `010` is ten, `1:30` no number.

```yaml
server:
  port: 8000
defaults:
  slo_ms: 50
models:
  - path: models/resnet          # models/resnet/1/model.onnx, models/resnet/2/model.onnx
    max_batch: 32
  - path: models/digits.onnx
    name: digits
```

`path` is a model file ([models.md](models.md) lists the formats), a versioned folder, or a folder
of those, or the URL of one ([remote.md](remote.md)). Of a versioned folder every version is
served, or those that `versions` names; the newest is the highest number.
"""

_MODEL = """
## A model: `defaults` and each entry of `models`

Under `defaults` a key holds for every model that does not say otherwise; the variables set those.
`models` as a whole is `HEADRACE_MODELS`. A `card.yaml` may have {carded}.

"""

_ERRORS = """# Errors

Every error has a stable code; the metrics count by it (`outcome`). *Retryable* says whether
the same request may succeed later; where there is something to say about when, the answer carries
`Retry-After`. The messages of *operator* errors name what to change. Those that come before a model
is loaded end `headrace serve` with exit status 2; one that cannot be loaded has failed, and the
status is 1 where none is left (see [operating.md](operating.md#exit-statuses)).

| code | class | HTTP | gRPC | blame | retryable | meaning |
|---|---|---|---|---|---|---|
"""


def settings_page() -> str:
    """Return ``settings.md``."""
    server = [one for one in listing() if one.key.startswith("server.")]
    defaults = [one for one in listing() if one.key.startswith("defaults.")]
    own = [Setting(name, ModelSettings.model_fields[name]) for name in ("path", "name")]
    carded = ", ".join(f"`{name}`" for name in Card.model_fields)
    parts = [
        _SETTINGS,
        "\n## `server`\n\n",
        _table(server, variables=True),
        _MODEL.format(carded=carded),
        _table(own, variables=False),
        "\n",
        _table(defaults, variables=True),
        "\n## A step of `results`\n\n",
        _table(_fields(ResultStep), variables=False),
        *(_accepted(kind) for kind in (AcceptedImage, AcceptedAudio, AcceptedText)),
        "\n## `verify`\n\nSee [models](models.md#verify-a-new-version).\n\n",
        _table(_fields(Verify), variables=False),
        "\n## `signature`\n\nSee [models](models.md).\n\n",
        _table(_fields(DeclaredSignature), variables=False),
        "\n## A tensor of `signature`\n\n",
        _table(_fields(DeclaredTensor), variables=False),
        "\n## An input of `normalise`\n\nSee [gpu](gpu.md#bytes-over-the-bus).\n\n",
        _table(_fields(Normalised), variables=False),
        "\n## `sequence`\n\nThe state of a model, see [sequences](sequences.md).\n\n",
        _table(_fields(Sequence), variables=False),
        "\n## A tensor of `sequence.state`\n\n",
        _table(_fields(StateTensor), variables=False),
    ]
    return _NOTE + "".join(parts)


def _accepted(group: type[Group]) -> str:
    """A section of one kind of entry of ``accepts``."""
    keys = _fields(group)
    kind = keys[0].allowed.removeprefix("one of ")
    meaning = " ".join((group.__doc__ or "").split())
    head = f"\n## An entry of `accepts`: {kind}\n\n{meaning} See [media.md](media.md).\n\n"
    return head + _table(keys, variables=False)


def _fields(group: type[BaseModel]) -> list[Setting]:
    """The keys of a group inside a setting, which have no flags."""
    return [Setting(f"{_INNER}{name}", field) for name, field in group.model_fields.items()]


def errors_page() -> str:
    """Return ``errors.md``."""
    return _NOTE + _ERRORS + "".join(_error_row(kind) for kind in _tree(errors.HeadraceError))


def lifecycle_block() -> str:
    """Return the table of a version's moves."""
    rows = ["| state | what may happen, and what it becomes |\n|---|---|\n"]
    for state, moves in TRANSITIONS.items():
        words = [f"{event.value} → `{after.value}`" for event, after in moves.items()]
        rows.append(f"| `{state.value}` | {', '.join(words) or 'nothing more'} |\n")
    return "".join(rows)


def figures_block() -> str:
    """Return a table for each benchmark whose results are kept."""
    documents = [json.loads(path.read_text("utf-8")) for path in sorted(RESULTS.glob("*.json"))]
    return "\n".join(_figures(document) for document in documents)


def _figures(document: dict[str, Any]) -> str:
    machine = document["machine"]
    libraries = ", ".join(f"{name} {version}" for name, version in machine["libraries"].items())
    where = (
        f"{machine['date']}, {machine['processor']}, {machine['cores']} cores, load "
        f"{machine['load_before']} before and {machine['load_after']} after; Python "
        f"{machine['python']}, {libraries}."
    )
    parts = [
        f"### {document['benchmark']}\n\n{where}\n\n",
        "| what | measured | wanted | | note |\n|---|---|---|---|---|\n",
    ]
    for figure in document["figures"]:
        wanted = ""
        if figure["wanted"] is not None:
            wanted = f"at {'most' if figure['at_most'] else 'least'} {_number(figure['wanted'])}"
        verdict = {None: "", True: "yes", False: "no"}[figure["meets"]]
        measured = f"{_number(figure['value'])} {figure['unit']}".strip()
        cells = (figure["name"], measured, wanted, verdict, figure["note"])
        parts.append(f"| {' | '.join(cells)} |\n")
    return "".join(parts)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"  # noqa: PLR2004


PAGES: dict[str, Callable[[], str]] = {"settings.md": settings_page, "errors.md": errors_page}
"""File name → what makes it."""


def imported_block(rules: Mapping[str, Rule]) -> str:
    """Return the table of what becomes of another server's fields."""
    rows = ["| field | what becomes of it | key | |\n|---|---|---|---|\n"]
    for name, rule in rules.items():
        key = f"`{rule.key}`" if rule.key else ""
        words = rule.words.replace("|", "\\|")
        rows.append(f"| `{name}` | {rule.fate} | {key} | {words} |\n")
    return "".join(rows)


BLOCKS: dict[str, Callable[[], str]] = {
    "batching": lambda: imported_block(tfserving.BATCHING_RULES),
    "figures": figures_block,
    "lifecycle": lifecycle_block,
    "model_config": lambda: imported_block(tfserving.MODEL_RULES),
    "summary": lambda: summary(ENGLISH),
    "summary_zh": lambda: summary(CHINESE),
    "pbtxt": lambda: imported_block(triton.RULES),
}
"""Name of a block → what makes it."""

_BLOCK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def written() -> dict[Path, str]:
    """Return every page that is generated, or has a generated block, as it should be."""
    pages = {FOLDER / name: make() for name, make in PAGES.items()}
    for path in sorted([*FOLDER.glob("*.md"), *FOLDER.parent.glob("README*.md")]):
        if path.name not in PAGES:
            text = path.read_text(encoding="utf-8")
            pages[path] = _BLOCK.sub(lambda found: found[1] + BLOCKS[found[2]]() + found[3], text)
    return pages


def _table(settings: list[Setting], *, variables: bool) -> str:
    columns = ["key", "type", "default", *(["variable"] if variables else []), "flag", "meaning"]
    head = f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n"
    return head + "".join(_row(setting, variables=variables) for setting in settings)


def _row(setting: Setting, *, variables: bool) -> str:
    name = setting.key.rpartition(".")[2]
    inner = setting.key.startswith(_INNER)
    own = SERVER_FLAGS if setting.key.startswith("server.") else MODEL_FLAGS
    flags = () if inner else own
    cells = [
        f"`{name}`",
        setting.allowed,
        _default(setting),
        *([f"`{setting.variable}`"] if variables else []),
        f"`{flag(name)}`" if name in flags else "",
        setting.field.description or "",
    ]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def _default(setting: Setting) -> str:
    if setting.field.is_required():
        return "must be given"
    value: Any = setting.field.get_default(call_default_factory=True)
    if value is None:
        return "none"
    if value in ((), {}):
        return "empty"
    if isinstance(value, tuple):
        value = ", ".join(map(str, value))
    return f"`{value}`"


def _tree(kind: type[errors.HeadraceError]) -> Iterator[type[errors.HeadraceError]]:
    """The classes below, in the order of the file, each once; groups are not raised themselves."""
    below = kind.__subclasses__()
    for inner in below:
        yield from _tree(inner)
    if not below:
        yield kind


def _error_row(kind: type[errors.HeadraceError]) -> str:
    error = kind("")
    status = error.grpc_status
    meaning = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
    meaning = meaning.replace("``", "`")
    cells = (
        f"`{kind.code}`",
        f"`{kind.__name__}`",
        str(error.http_status),
        f"{status.name} ({int(status)})",
        kind.blame.value,
        "yes" if kind.retryable else "no",
        meaning,
    )
    return f"| {' | '.join(cells)} |\n"


def main() -> int:
    """Write the pages, or check that they are what they would be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 when stale")
    check = parser.parse_args().check
    stale = []
    for path, text in written().items():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(str(path.relative_to(FOLDER.parent)))
        if not check:
            path.write_text(text, encoding="utf-8")
    verb = "stale" if check else "written"
    sys.stdout.write("".join(f"{verb}: {name}\n" for name in stale))
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
