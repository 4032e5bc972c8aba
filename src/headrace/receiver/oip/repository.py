"""Open Inference Protocol's model repository extension, over gRPC and REST: index, load, unload.

Source: Triton's docs/protocol/extension_model_repository.md and extension_model_configuration.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from headrace.control import ModelState
from headrace.errors import InvalidInput, MalformedRequest, NotAllowed
from headrace.order import Load, Unload, VersionPolicy
from headrace.receiver.codecs.json_tensor import parse, unbase64
from headrace.receiver.codecs.protobuf import message, read, read_parameters
from headrace.receiver.exchange import Core, Exchange, Reply
from headrace.receiver.http import json_reply
from headrace.settings import ModelSettings

_SERVICE = "/inference.GRPCInferenceService/"
# Triton's word for each state of ours (model_lifecycle.h, ModelReadyState).
_STATES = {
    "found": "LOADING",
    "listed": "UNAVAILABLE",
    "loading": "LOADING",
    "warming": "LOADING",
    "recovering": "LOADING",
    "serving": "READY",
    "evicting": "UNLOADING",
    "draining": "UNLOADING",
    "failed": "UNAVAILABLE",
    "unloaded": "UNAVAILABLE",
}
_REASONS = {"unloaded": "unloaded", "listed": "loads at its first request"}
# PyTorch's programs are Python's, too.
_CODE = (".py", ".pt", ".pt2")
# Cards say what the operator says: they may name any file of the server, as one of labels.
_CARDS = ("card.yaml", "tuned.yaml")
_FILE = "file:"
_WHOLE = re.compile("[0-9]{1,18}")
# A version folder and a file in it, of names that lead nowhere else.
_FILE_PATH = re.compile(r"[0-9]{1,18}/[A-Za-z0-9_][A-Za-z0-9._-]{0,254}")
# No settings of a model are so long, or so deep; what reads JSON for us gives up at 200 levels.
_MOST_CONFIG, _DEEPEST = 2**22, 32
# They name the model, or files of the server.
NO_OVERRIDES = frozenset({"path", "name", "labels", "accepts"})


class OipRepository:
    """The ``repository`` part of both OIP fronts."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def methods(self) -> dict[str, Any]:
        """Method path → handler."""
        return {
            f"{_SERVICE}RepositoryIndex": self.grpc_index,
            f"{_SERVICE}RepositoryModelLoad": self.grpc_load,
            f"{_SERVICE}RepositoryModelUnload": self.grpc_unload,
        }

    # -- gRPC --------------------------------------------------------------------------------------

    async def grpc_index(self, exchange: Exchange) -> bytes:
        """RepositoryIndex."""
        asked = read("RepositoryIndexRequest", exchange.body)
        _refuse_repository(asked.repository_name)
        answer = message("inference.RepositoryIndexResponse")()
        for row in self._index(only_ready=asked.ready):
            answer.models.add(**row)
        return bytes(answer.SerializeToString())

    async def grpc_load(self, exchange: Exchange) -> bytes:
        """RepositoryModelLoad."""
        asked = read("RepositoryModelLoadRequest", exchange.body)
        _refuse_repository(asked.repository_name)
        await self._load(asked.model_name, read_parameters(asked.parameters))
        return b""

    async def grpc_unload(self, exchange: Exchange) -> bytes:
        """RepositoryModelUnload."""
        asked = read("RepositoryModelUnloadRequest", exchange.body)
        _refuse_repository(asked.repository_name)
        await self._unload(asked.model_name, read_parameters(asked.parameters))
        return b""

    # -- REST --------------------------------------------------------------------------------------

    async def index(self, exchange: Exchange) -> Reply:
        """``POST /v2/repository/index``."""
        ready = _body(exchange).get("ready", False)
        if not isinstance(ready, bool):
            raise MalformedRequest('"ready" must be true or false')
        return json_reply(list(self._index(only_ready=ready)))

    async def load(self, exchange: Exchange, name: str, _: None) -> Reply:
        """``POST /v2/repository/models/{name}/load``."""
        parameters = _body_parameters(exchange)
        for key, value in parameters.items():
            if key.startswith(_FILE):
                parameters[key] = unbase64(f"parameter {key!r}", value)
        await self._load(name, parameters)
        return Reply(200, b"")

    async def unload(self, exchange: Exchange, name: str, _: None) -> Reply:
        """``POST /v2/repository/models/{name}/unload``."""
        await self._unload(name, _body_parameters(exchange))
        return Reply(200, b"")

    async def named(self, exchange: Exchange, repository: str, _: None) -> Reply:  # noqa: ARG002
        """``POST /v2/repository/{repository}/...``: there is no other repository.

        Raises:
            InvalidInput: always.
        """
        raise _no_repository(repository)

    # -- both --------------------------------------------------------------------------------------

    def _index(self, *, only_ready: bool) -> Iterator[dict[str, str]]:
        for name in self._core.catalog.names():
            for state in reversed(self._core.catalog.states(name)):
                row = _row(state)
                if not only_ready or row["state"] == "READY":
                    yield row

    async def _load(self, name: str, parameters: Mapping[str, Any]) -> None:
        order, files = read_load(name, parameters)
        await self._core.command(order, files)

    async def _unload(self, name: str, parameters: Mapping[str, Any]) -> None:
        for key, value in parameters.items():
            # There are no ensembles here, so nothing depends on a model.
            if key != "unload_dependents" or not isinstance(value, bool):
                raise InvalidInput(
                    f"parameter {key!r} is not known here: unload takes unload_dependents, true or "
                    "false"
                )
        await self._core.command(Unload(name=_name(name)), {})


def read_load(name: str, parameters: Mapping[str, Any]) -> tuple[Load, dict[str, bytes]]:
    """Read the parameters of a load: ``config``, a model configuration, and ``file:`` overrides.

    Raises:
        InvalidInput: one of them is not known or cannot be used; the message says which.
        NotAllowed: a file is code.
    """
    files = {key.removeprefix(_FILE): v for key, v in parameters.items() if key.startswith(_FILE)}
    for path, content in files.items():
        if not _FILE_PATH.fullmatch(path) or not isinstance(content, bytes):
            raise InvalidInput(
                f"{_FILE}{path}: should be {_FILE}VERSION/NAME, as in {_FILE}1/model.onnx, of a "
                "name of at most 255 characters, and hold the file"
            )
        if path.endswith(_CODE):
            raise NotAllowed(
                f"{_FILE}{path}: code is not taken from clients: it would run with all the rights "
                "of the server"
            )
        if path.endswith(_CARDS):
            raise NotAllowed(
                f"{_FILE}{path}: a card is not taken from clients: it may name files of the "
                "server; send what it says as `parameters` of config"
            )
    others = [key for key in parameters if key != "config" and not key.startswith(_FILE)]
    if others:
        raise InvalidInput(
            f"parameter {others[0]!r} is not known here: load takes config and {_FILE}VERSION/NAME"
        )
    config = parameters.get("config")
    if files and config is None:
        raise InvalidInput(f'parameter "config" must be given with {_FILE} (it may be {{}})')
    if config is None:
        return Load(name=_name(name)), {}
    overrides, policy = read_config(name, config)
    return Load(name=_name(name), overrides=overrides, policy=policy), files


def read_config(name: str, text: Any) -> tuple[dict[str, Any], VersionPolicy | None]:
    """Read a model configuration: what of it is a setting here, and which versions it wants.

    ``max_batch_size`` is ``max_batch``; the counts of ``instance_group`` are ``instances``;
    ``parameters`` may name settings of a model (``{"slo_ms": {"string_value": "50"}}``). The rest
    describes what is read from the model itself here, and is not looked at.

    Raises:
        InvalidInput: it is not a JSON object, or one of these is not as it should be.
    """
    if not isinstance(text, str):
        raise InvalidInput('parameter "config" must be a string: a model configuration as JSON')
    if len(text) > _MOST_CONFIG:
        raise InvalidInput(f'parameter "config": is longer than {_MOST_CONFIG} characters')
    try:
        config = parse(text.encode())
    except MalformedRequest as error:
        raise InvalidInput(f'parameter "config": {error.message}') from error
    if config.get("name", name) not in ("", name):
        raise InvalidInput(f"config: its name is {config['name']!r}, the model's is {name!r}")
    overrides = dict(_settings(config))
    if _depth(overrides) > _DEEPEST:
        raise InvalidInput(f"config: its parameters are nested deeper than {_DEEPEST} levels")
    size = _either(config, "max_batch_size")
    if size is not None:
        most = _whole(size, "max_batch_size")
        overrides |= {"max_batch": most} if most else {"batched": False}
    groups = _either(config, "instance_group")
    if groups is not None and groups != []:
        overrides["instances"] = sum(_counts(groups))
    return overrides, _policy(_either(config, "version_policy"))


def _settings(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Settings of a model among the ``parameters`` of its configuration."""
    parameters = config.get("parameters", {})
    if not isinstance(parameters, dict):
        raise InvalidInput("config: parameters must be an object")
    for key, value in parameters.items():
        if key in ModelSettings.model_fields and key not in NO_OVERRIDES:
            yield key, _either(value, "string_value") if isinstance(value, dict) else value


def _depth(value: Any) -> int:
    """How many levels of lists and objects there are."""
    depth, level = 0, [value]
    while level := [one for one in level if isinstance(one, dict | list)]:
        depth += 1
        level = [
            below for one in level for below in (one.values() if isinstance(one, dict) else one)
        ]
    return depth


def _counts(groups: Any) -> Iterator[int]:
    if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
        raise InvalidInput("config: instance_group must be a list of objects")
    for group in groups:
        count = group.get("count")
        yield 1 if count is None else _whole(count, "the count of an instance_group", least=1)


def _policy(said: Any) -> VersionPolicy | None:
    if said is None:
        return None
    if isinstance(said, dict):
        match next(iter(said.items()), ("all", {})):
            case ("all", _):
                return VersionPolicy()
            case ("latest", dict() as latest):
                count = _either(latest, "num_versions")
                latest_count = 1 if count is None else _whole(count, "num_versions", least=1)
                return VersionPolicy(latest=latest_count)
            case ("specific", {"versions": [_, *_] as versions}):
                return VersionPolicy(specific=tuple(_whole(one, "a version") for one in versions))
    raise InvalidInput(
        'config: version_policy must be {"latest": {"num_versions": 1}}, {"all": {}} or '
        '{"specific": {"versions": [1]}}'
    )


def _whole(value: Any, what: str, least: int = 0) -> int:
    """Read a whole number, which protobuf's JSON may have as text too."""
    if isinstance(value, int | str) and _WHOLE.fullmatch(str(value)) and int(value) >= least:
        return int(value)
    raise InvalidInput(f"config: {what} must be a whole number of at least {least}")


def _either(parent: Mapping[str, Any], name: str) -> Any:
    """A field by its name in the .proto, or by its JSON name."""
    head, *tail = name.split("_")
    return parent.get(name, parent.get(head + "".join(word.title() for word in tail)))


def _row(state: ModelState) -> dict[str, str]:
    reason = _REASONS.get(state.state, state.reason)
    return {
        "name": state.name,
        "version": str(state.version),
        "state": _STATES[state.state],
        "reason": reason,
    }


def _name(name: str) -> str:
    if not name:
        raise MalformedRequest("the request names no model")
    return name


def _refuse_repository(name: str) -> None:
    if name:
        raise _no_repository(name)


def _no_repository(name: str) -> InvalidInput:
    return InvalidInput(f"there is one repository here, without a name; not {name!r}")


def _body(exchange: Exchange) -> dict[str, Any]:
    return parse(exchange.body) if bytes(exchange.body).strip() else {}


def _body_parameters(exchange: Exchange) -> dict[str, Any]:
    parameters = _body(exchange).get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise MalformedRequest('"parameters" must be an object')
    return parameters
