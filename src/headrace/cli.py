"""The command line: parse, call, print. Flags come from the settings, which are written once."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from headrace import INTERRUPTED_STATUS, __version__
from headrace.dashboard import grammar as dashboard
from headrace.errors import OperatorError, SettingsError
from headrace.flags import CommandParser
from headrace.layers import Located, load_located
from headrace.load.command import grammar
from headrace.models import command
from headrace.plan import grammar as plan
from headrace.problems import place
from headrace.server_settings import ServerSettings
from headrace.settings import ModelSettings
from headrace.tune import grammar as tune
from headrace.urls import is_url

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from headrace.loader.nursery import Beginning
    from headrace.loader.store import FoundVersion

SERVER_FLAGS = (
    "port",
    "host",
    "listen",
    "receivers",
    "share",
    "default_model",
    "model_control",
    "poll_s",
    "memory_budget_mib",
    "max_resident",
    "log_level",
)
"""The keys of ``server`` that have a flag."""

MODEL_FLAGS = (
    "name",
    "versions",
    "preload",
    "slo_ms",
    "backend",
    "device",
    "precision",
    "f32_layers",
    "instances",
    "threads",
    "placement",
    "max_batch",
)
"""The keys of a model that have a flag; it holds for every model served."""

_CONFIG = Path("headrace.yaml")
_CONFIG_SUFFIXES = (".yaml", ".yml")
_OPERATOR_STATUS = 2


def main(arguments: Sequence[str], beginning: Beginning | None = None) -> int:
    """Run one command and return its exit status: 0, 1 (it failed), 2 (something to change)."""
    options = parser().parse_args(arguments, argparse.Namespace(beginning=beginning))
    try:
        return int(options.call(options))
    except KeyboardInterrupt:
        return INTERRUPTED_STATUS
    except OperatorError as error:
        return _complain([error])
    except BaseExceptionGroup as group:  # what a task group of the server ended with
        ours, others = group.split(OperatorError)
        if ours is None or others is not None:
            raise
        return _complain(list(_leaves(ours)))


def parser() -> argparse.ArgumentParser:
    """Build the command line's grammar."""
    root = CommandParser(
        prog="headrace",
        description="Serve deep-learning models within a latency objective.",
        epilog="docs/settings.md lists every setting, its variable and its flag.",
    )
    root.add_argument("--version", action="version", version=f"headrace {__version__}")
    commands = root.add_subparsers(required=True, metavar="COMMAND")
    for name, what, add, call in _commands():
        one = commands.add_parser(name, help=what, description=call.__doc__, allow_abbrev=False)
        add(one)
        one.set_defaults(call=call)
    return root


class _Command(NamedTuple):
    """One command: what it is for, what makes its grammar, and what it does."""

    name: str
    what: str
    add: Callable[[argparse.ArgumentParser], None]
    call: Callable[[argparse.Namespace], int]


def _commands() -> tuple[_Command, ...]:
    return (
        _Command("serve", "serve models", _add_serve, _serve),
        _Command("check", "check settings", _add_check, _check),
        _Command("import", "import others' settings", _add_import, _import),
        _Command("models", "see and steer a server's models", command.add, command.run),
        _Command("plan", "plan capacity: rates, latencies, instances", plan.add, plan.run),
        _Command("tune", "find how a model is served best on this machine", tune.add, tune.run),
        _Command("load", "load a server", grammar.add, grammar.run),
        _Command("dashboard", "show servers on a live page", dashboard.add, dashboard.run),
        _Command("version", "print the version", lambda _: None, _version),
    )


def _add_serve(command: argparse.ArgumentParser) -> None:
    _add_sources(command)
    _add_flags(command)


def _add_check(command: argparse.ArgumentParser) -> None:
    _add_sources(command)
    command.add_argument("--json", action="store_true", help="print one JSON object")


def _add_sources(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "paths",
        nargs="*",
        metavar="PATH",
        help="a model file, a versioned folder (1/model.onnx), a folder of those, the URL of one "
        "(s3://, gs://, https://), or a settings file "
        f"({', '.join(_CONFIG_SUFFIXES)}); none: ./{_CONFIG}",
    )
    command.add_argument("--config", type=Path, help="the settings file; PATHs replace its models")


def _add_import(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="a config.pbtxt, a model's folder, a model repository, a model_config_file or a "
        "batching_parameters_file",
    )
    command.add_argument("--out", type=Path, help="the file to write; none: standard output")
    command.add_argument("--force", action="store_true", help="replace the file of --out")
    command.add_argument("--json", action="store_true", help="print one JSON object")


def _add_flags(command: argparse.ArgumentParser) -> None:
    """Add a flag for each key listed above; what it means and may be stands in the settings."""
    for group, names, title in (
        (ServerSettings, SERVER_FLAGS, "server"),
        (ModelSettings, MODEL_FLAGS, "models (each flag holds for every model served)"),
    ):
        flags = command.add_argument_group(title)
        for name in names:
            field = group.model_fields[name]
            flags.add_argument(
                flag(name),
                dest=name,
                action="append" if name == "listen" else "store",  # PATHs may follow it
                metavar="ADDR:PORT" if name == "listen" else name.upper(),
                help=_help(field),
            )


def _help(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    shown = "" if default is None or default == () else f"; default {default}"
    return f"{field.description} ({place(field).allowed}{shown})".replace("%", "%%")


def flag(name: str) -> str:
    """Return the flag of a key: ``slo_ms`` → ``--slo-ms``."""
    return f"--{name.replace('_', '-')}"


def _serve(options: argparse.Namespace) -> int:
    """Serve models until SIGTERM or Ctrl-C. Order: flag > HEADRACE_ variable > file > default."""
    settings = _load(options).settings
    from rich.console import Console  # noqa: PLC0415 - --help need not wait for it

    from headrace.app import serve  # noqa: PLC0415 - the same

    return serve(settings, Console(), options.beginning)


def _check(options: argparse.Namespace) -> int:
    """Check a settings file and find its models without loading them. Exit status 2: problems.

    What lies elsewhere is fetched, as for a start.
    """
    from headrace.loader.rehearsal import rehearse  # noqa: PLC0415 - as above

    try:
        rehearsed = rehearse(*_load(options))
    except OperatorError as error:
        return _tell_problems(error, options)
    models = [_told(*one) for one in rehearsed.found]
    passed = rehearsed.left_out
    aside = {one.name: one.aside for one, _ in rehearsed.found if one.aside}
    if options.json:
        told = {"ok": True, "problems": [], "models": models, "left_out": passed, "untuned": aside}
        print(json.dumps(told))
    else:
        for reason in passed.values():
            print(f"left out: {reason}")
        for reason in aside.values():
            print(f"tuned card left aside: {reason}")
        from rich.console import Console  # noqa: PLC0415 - as above

        from headrace.screen import show_checked  # noqa: PLC0415 - as above

        show_checked(Console(), models)
        print("ok")
    return 0


def _import(options: argparse.Namespace) -> int:
    """Write a settings file from the configuration of Triton or TensorFlow Serving.

    Says what became of every field. Exit status 2: something cannot be read.
    """
    from rich.console import Console  # noqa: PLC0415 - as above

    from headrace.importers import gather, report, written  # noqa: PLC0415 - as above

    out: Path | None = options.out
    try:
        found = gather.gather(map(Path, options.paths))
        if out is not None:
            # From where a link leads, what is relative would lead elsewhere.
            linked = os.path.islink(out)  # noqa: PTH114 - the other raises
            folder = None if linked else out.absolute().parent
            text = written.write(found, folder)
            written.save(text, out, force=options.force)
    except OperatorError as error:
        return _tell_problems(error, options)
    if options.json:
        print(json.dumps(report.described(found)))
        return 0
    if out is None:
        print(written.write(found, None), end="")
    report.show(found, Console(stderr=out is None))
    return 0


def _tell_problems(error: OperatorError, options: argparse.Namespace) -> int:
    """Print what is wrong as JSON where that was asked for; else it is ``main``'s to tell."""
    if not options.json:
        raise error
    print(json.dumps({"ok": False, "problems": error.message.splitlines(), "models": []}))
    return _OPERATOR_STATUS


def _version(_: argparse.Namespace) -> int:
    """Print the version."""
    print(f"headrace {__version__}")
    return 0


def _load(options: argparse.Namespace) -> Located:
    """Read the settings that the options ask for."""
    file, models = _sources(options.paths, options.config)
    given = vars(options)
    flags: dict[str, Any] = {f"server.{name}": given.get(name) for name in SERVER_FLAGS}
    flags |= {f"models.*.{name}": given.get(name) for name in MODEL_FLAGS}
    if models:
        flags["models"] = [{"path": path} for path in models]
    if given.get("name") is not None and len(models) != 1:
        raise SettingsError("--name is for one model: give exactly one PATH with it")
    return load_located(file, os.environ, flags)


def _sources(paths: list[str], config: Path | None) -> tuple[Path | None, list[str]]:
    """Tell the settings file from the models among the paths."""
    named = [text for text in paths if text.endswith(_CONFIG_SUFFIXES) and not is_url(text)]
    files = [Path(text) for text in named]
    if config is not None:
        files.append(config)
    models = [text for text in paths if text not in named]
    if len(files) > 1:
        raise SettingsError(f"one settings file at a time, not {', '.join(map(str, files))}")
    if not paths and not files and _CONFIG.exists():
        return _CONFIG, []
    return (files[0] if files else None), models


def _told(found: FoundVersion, place: str) -> dict[str, Any]:
    settings = found.settings
    return {
        "model": found.name,
        "version": found.version,
        "file": place,
        "backend": settings.backend.value,
        "precision": settings.precision.value,
        "slo_ms": settings.slo_ms,
        "instances": settings.instances,
        "threads": settings.threads,
    }


def _complain(errors: Sequence[OperatorError]) -> int:
    for error in errors:
        for problem in error.message.splitlines():
            print(f"headrace: {problem}", file=sys.stderr)
    return _OPERATOR_STATUS


def _leaves(group: BaseExceptionGroup[OperatorError]) -> Iterator[OperatorError]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
