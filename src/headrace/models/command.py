"""The command ``headrace models``: its grammar, and what each action does."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from headrace.errors import HeadraceError, SettingsError
from headrace.models.ask import DEFAULT_URL, ServerModels

_FAILED_STATUS = 1


def add(command: argparse.ArgumentParser) -> None:
    """Add the actions; ``--url`` may stand before one or after it."""
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument(
        "--url",
        default=argparse.SUPPRESS,
        help=f"the server's address (default: {DEFAULT_URL})",
    )
    where.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help="print one JSON object"
    )
    for action in where._actions:  # noqa: SLF001 - so that they are written once
        command._add_action(action)  # noqa: SLF001
    command.add_argument("--watch", action="store_true", help="keep the table current until Ctrl-C")
    command.set_defaults(action=None)
    actions = command.add_subparsers(metavar="ACTION", dest="action")
    for name, what in (
        ("slow", "show the slowest requests of the last minutes, and where their time went"),
        ("load", "load a model, or look again where it lies"),
        ("unload", "unload every version of a model"),
        ("label", "move version labels of a model"),
        ("freeze", "write what was learnt while serving as the tuned card of a model"),
    ):
        one = actions.add_parser(
            name, help=what, description=what, parents=[where], allow_abbrev=False
        )
        if name == "slow":
            one.add_argument("model", metavar="MODEL", nargs="?", help="of one model only")
            continue
        one.add_argument("model", metavar="MODEL")
        if name == "freeze":
            one.add_argument(
                "path",
                metavar="PATH",
                type=Path,
                help="where the model lies on this machine, which is the server's",
            )
            one.add_argument(
                "--output",
                type=Path,
                metavar="FILE",
                help="what to write (default: tuned.yaml beside the model)",
            )
        if name == "label":
            one.add_argument(
                "labels",
                nargs="+",
                type=_label,
                metavar="LABEL=VERSION",
                help="stable=2; with no version (canary=) the label is removed",
            )


def _label(text: str) -> tuple[str, int | None]:
    label, equals, version = text.partition("=")
    if not (label and equals and (not version or version.isdecimal())):
        raise argparse.ArgumentTypeError(f"{text!r} should be LABEL=VERSION, as in stable=2")
    return label, int(version) if version else None


def run(options: argparse.Namespace) -> int:
    """Show the models of a running server: state, labels, memory, and how long each took to load.

    load, unload and label need a server that runs with --model-control explicit. Exit status 1: it
    refused, or cannot be reached; 130: Ctrl-C came before the answer.
    """
    from rich.console import Console  # noqa: PLC0415 - --help need not wait for it

    from headrace.models.show import show, tell, watch  # noqa: PLC0415 - the same
    from headrace.models.slow import show_slowest  # noqa: PLC0415 - the same
    from headrace.tables import visible  # noqa: PLC0415 - the same

    as_json = getattr(options, "json", False)
    _check_form(watch=options.watch, as_json=as_json)
    server = ServerModels(getattr(options, "url", DEFAULT_URL))
    try:
        if options.action is None and not as_json:
            (watch if options.watch else show)(server, Console())
            return 0
        if options.action == "slow" and not as_json:
            show_slowest(server.slowest(options.model), Console())
            return 0
        told = _ordered(server, options)
    except HeadraceError as error:
        if as_json:
            print(json.dumps({"ok": False, "code": error.code, "error": error.message}))
        else:
            tell(error, Console(stderr=True))
        return _FAILED_STATUS
    print(json.dumps({"ok": True, **told}) if as_json else visible(_in_words(told)))
    return 0


def _check_form(*, watch: bool, as_json: bool) -> None:
    """Check that one form is asked for.

    Raises:
        SettingsError: both are.
    """
    if watch and as_json:
        raise SettingsError("--watch keeps a table current, --json prints one object: give one")


def _ordered(server: ServerModels, options: argparse.Namespace) -> dict[str, Any]:
    """Do what is asked of a server and return what came of it."""
    match options.action:
        case "slow":
            return {"requests": server.slowest(options.model)}
        case "load":
            server.load(options.model)
        case "unload":
            server.unload(options.model)
        case "label":
            return {
                "model": options.model,
                "labels": server.label(options.model, dict(options.labels)),
            }
        case "freeze":
            from headrace.models.freeze import freeze, in_words  # noqa: PLC0415 - as in run

            versions = server.index()
            file, tuned = freeze(
                server.profile(options.model), versions, options.path, options.output
            )
            return {"model": options.model, "file": str(file), "told": in_words(file, tuned)}
        case _:
            return {"models": server.index()}
    return {"model": options.model, "done": f"{options.action}ed"}


def _in_words(told: dict[str, Any]) -> str:
    if "told" in told:
        return str(told["told"])
    if "labels" not in told:
        return f"{told['model']}: {told['done']}"
    labels = ", ".join(f"{label}={version}" for label, version in sorted(told["labels"].items()))
    return f"{told['model']}: labels {labels or 'none'}"
