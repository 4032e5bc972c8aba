"""Reads the settings: the only reader of the file, the environment and the flags.

Order: flag > environment (``HEADRACE_SERVER__PORT=9000``) > file (``headrace.yaml``) > default.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from textwrap import indent
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from headrace.device import CPU
from headrace.documents import Document, anchor_paths, anchored, at_home, merge, parse, read
from headrace.errors import SettingsError
from headrace.problems import explain, located, place, shown
from headrace.server_settings import ServerSettings
from headrace.settings import MOST_INSTANCES, NO_DEFAULTS, Card, ModelSettings, Settings

_PREFIX = "HEADRACE_"
# What Kubernetes tells pods of a Service, as it has been told to containers since Docker's links.
_SERVICE = re.compile(
    r"HEADRACE_(\w+_)?"
    r"(SERVICE_HOST=|SERVICE_PORT(_\w+)?="
    r"|PORT=(tcp|udp|sctp)://|PORT_\d+_(TCP|UDP|SCTP)(_PROTO|_PORT|_ADDR)?=)"
)
_PATHS = ("access_log", "cache_dir", "trace_dir")
# Flags with this prefix are set on each entry of `models`.
_EVERY_MODEL = "models.*."


class Setting(NamedTuple):
    """One leaf of the tree, for those who list them: environment, flags, documentation."""

    key: str
    field: FieldInfo

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return _PREFIX + self.key.upper().replace(".", "__")

    @property
    def allowed(self) -> str:
        """What it may be, in words."""
        return place(self.field).allowed


def listing() -> Iterator[Setting]:
    """Every setting that has a key of its own: ``server.*``, ``defaults.*`` and ``models``."""
    for name, field in ServerSettings.model_fields.items():
        yield Setting(f"server.{name}", field)
    for name, field in ModelSettings.model_fields.items():
        if name not in NO_DEFAULTS:
            yield Setting(f"defaults.{name}", field)
    yield Setting("models", Settings.model_fields["models"])


class Located(NamedTuple):
    """Settings, and where each entry of ``models`` is written: ``headrace.yaml:5``, or nowhere."""

    settings: Settings
    entries: tuple[str, ...]


def load(file: Path | None, environment: Mapping[str, str], flags: Mapping[str, Any]) -> Settings:
    """As ``load_located``, for those who need not say where anything is written."""
    return load_located(file, environment, flags).settings


def load_located(
    file: Path | None, environment: Mapping[str, str], flags: Mapping[str, Any]
) -> Located:
    """Merge flags over the environment over the file over the defaults, and check everything.

    ``flags`` maps dotted keys to values, None meaning not given; ``models.*.KEY`` sets KEY of every
    model. Values that are mappings or lists are replaced whole, not merged. Paths in the file are
    relative to the file, others to the working directory.

    Raises:
        SettingsError: names every problem, a line each, with its file and line, variable or flag.
    """
    layers = [Document({}, {}) if file is None else _from_file(file)]
    variables, problems = _from_environment(environment)
    layers += [variables, _from_flags(flags)]
    merged = merge(layers)
    every = _of_every_model(flags)
    _set_on_every_model(merged, every)
    try:
        loaded = Settings.model_validate(merged.data)
        problems += [
            located(("models", index), "`path` must be given", merged.origins)
            for index, entry in enumerate(loaded.models)
            if entry.path is None
        ]
    except ValidationError as error:
        problems += explain(error, Settings, merged.data, merged.origins)
    if problems:
        raise SettingsError("\n".join(problems))
    numbers = range(len(loaded.models))
    if numbers:  # else nobody has looked whether they are right
        loaded = loaded.with_every_model(every)
    return Located(loaded, tuple(merged.origins.get(("models", one), "") for one in numbers))


def said_of(entry: ModelSettings, card: Card, defaults: ModelSettings) -> dict[str, Any]:
    """What somebody set of one model: its entry > its card > ``defaults``."""
    said: dict[str, Any] = {}
    for layer in (defaults, card, entry):
        said |= {name: getattr(layer, name) for name in layer.model_fields_set}
    return said


def origins(
    entry: ModelSettings, card: Card, defaults: ModelSettings, tuned: Iterable[str]
) -> dict[str, str]:
    """Which layer said each setting of one model that is not built in."""
    layers = (
        (tuned, "tuned card"),
        (defaults.model_fields_set, "defaults"),
        (card.model_fields_set, "card"),
        (entry.model_fields_set, "settings"),
    )
    return {name: layer for names, layer in layers for name in names}


def resolve(
    entry: ModelSettings,
    card: Card,
    defaults: ModelSettings,
    *,
    cores: int,
    tuned: Mapping[str, Any] | None = None,
) -> ModelSettings:
    """Settle the settings of one model: its entry > its card > ``defaults`` > ``tuned`` > built in.

    ``instances`` becomes a number (``cores // threads``, from 1 to 256; on a GPU 1); a backend of
    ``auto`` is left to the engine.
    """
    said = {**(tuned or {}), **said_of(entry, card, defaults)}
    settled = ModelSettings.model_validate(said)
    if settled.instances is not None:
        return settled
    lanes = min(max(1, cores // settled.threads), MOST_INSTANCES) if settled.device == CPU else 1
    return settled.model_copy(update={"instances": lanes})


def _from_file(file: Path) -> Document:
    document = read(file)
    # A section whose every line is commented out reads as null.
    data = {section: value for section, value in document.data.items() if value is not None}
    models = data.get("models")
    if isinstance(data.get("server"), dict):
        data["server"] = _anchored(data["server"], file)
    for entry in [*(models if isinstance(models, list) else ()), data.get("defaults")]:
        if isinstance(entry, dict):
            anchor_paths(entry, file)
    return Document(data, document.origins)


def _anchored(server: dict[str, Any], file: Path) -> dict[str, Any]:
    """The section with its paths relative to the file."""
    paths = {key: anchored(server[key], key, file) for key in _PATHS if key in server}
    roots, cache = server.get("model_roots"), server.get("cache_dir")
    if isinstance(roots, list):
        paths["model_roots"] = [anchored(root, "model_roots", file) for root in roots]
    if isinstance(cache, str) and at_home(cache) is None:
        paths["cache_dir"] = cache  # whoever keeps something there says that there is no home
    return server | paths


def _from_environment(environment: Mapping[str, str]) -> tuple[Document, list[str]]:
    """Read the variables that are settings, and name the problems of those that are none."""
    known = {setting.variable: setting for setting in listing()}
    document, problems = Document({}, {}), []
    for variable, text in environment.items():
        if not variable.startswith(_PREFIX) or not text.strip():  # empty: as good as not set
            continue
        setting = known.get(variable)
        if setting is None and _of_kubernetes(variable, text):
            continue
        if setting is None:
            problems.append(
                f"environment {variable}: unknown variable{_alike(variable, list(known))}"
            )
            continue
        try:
            value = _value(text, setting)
        except SettingsError:
            problems.append(f"environment {variable}: {shown(text)} is not valid YAML or JSON")
            continue
        document.put(tuple(setting.key.split(".")), value, f"environment {variable}")
    return document, problems


def _of_kubernetes(variable: str, text: str) -> bool:
    """Whether Kubernetes sets it in each pod, for a Service called ``headrace`` or so."""
    return _SERVICE.match(f"{variable}={text}") is not None


def _alike(variable: str, known: list[str]) -> str:
    """Name the variable that was meant; without the prefix, which makes all of them look alike."""
    if (whole := _in_a_group(variable.removeprefix(_PREFIX), known)) is not None:
        return f"; did you mean `{whole}`?"
    names = [name.removeprefix(_PREFIX) for name in known]
    close = difflib.get_close_matches(variable.removeprefix(_PREFIX), names, n=1)
    if not close:
        return "; docs/settings.md lists them all"
    return f"; did you mean `{_PREFIX}{close[0]}`?"


def _in_a_group(key: str, known: list[str]) -> str | None:
    """The variable of a key, or of its beginning, that was said without its group: ``PORT``."""
    for whole in known:  # the server's come first
        if f"{whole.partition('__')[2]}_".startswith(f"{key}_"):
            return whole
    return None


def _value(text: str, setting: Setting) -> Any:
    """Read a variable: text as it is, lists and mappings as YAML, a list of words by its commas.

    What files and templates leave around it, spaces and ends of lines, is no part of it.

    Raises:
        SettingsError: it is not YAML.
    """
    here = place(setting.field)
    said = text.strip()
    if here.takes_many and (not here.takes_text or _is_yaml(said)):
        return parse(f"value:\n{indent(text, ' ')}", "it").data["value"]
    if here.takes_words:
        return [part.strip() for part in said.split(",")]
    return None if here.takes_null and said == "null" else said


def _is_yaml(said: str) -> bool:
    """Whether what could be text is a list or a mapping: text is one line."""
    return said[0] + said[-1] in {"[]", "{}"} or "\n" in said or said.startswith("- ")


def _from_flags(flags: Mapping[str, Any]) -> Document:
    document = Document({}, {})
    for key, value in flags.items():
        if value is not None and not key.startswith(_EVERY_MODEL):
            document.put(tuple(key.split(".")), _or_null(key, value), _flag(key))
    return document


def _or_null(key: str, value: Any) -> Any:
    """What a flag says: where a setting may be null, the word says so, as in a variable."""
    group = ModelSettings if key.startswith(_EVERY_MODEL) else ServerSettings
    field = group.model_fields.get(key.rpartition(".")[2])
    return None if value == "null" and field is not None and place(field).takes_null else value


def _flag(key: str) -> str:
    return "argument" if key == "models" else f"flag --{key.rpartition('.')[2].replace('_', '-')}"


def _of_every_model(flags: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key.removeprefix(_EVERY_MODEL): _or_null(key, value)
        for key, value in flags.items()
        if key.startswith(_EVERY_MODEL) and value is not None
    }


def _set_on_every_model(document: Document, every: dict[str, Any]) -> None:
    entries = document.data.get("models")
    if not every or not isinstance(entries, list):
        return
    document.data["models"] = [e | every if isinstance(e, dict) else e for e in entries]
    for index in range(len(entries)):
        for name in every:
            document.origins.pop(("models", index, name), None)  # problems are told in this order
            document.origins["models", index, name] = _flag(name)
