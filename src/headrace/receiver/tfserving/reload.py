"""TensorFlow Serving's ``ModelService/HandleReloadConfigRequest``: replaces the set of models.

Source: tensorflow_serving/apis/model_management.proto, config/model_server_config.proto,
model_servers/server_core.cc.
"""

from __future__ import annotations

from typing import Any

from headrace.errors import MalformedRequest
from headrace.order import Reload, VersionPolicy, WantedModel
from headrace.receiver.codecs.protobuf import message, parse
from headrace.receiver.exchange import Core, Exchange

_SCHEME = "file://"


class TfServingReload:
    """The reloading part of TensorFlow Serving's gRPC front."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def methods(self) -> dict[str, Any]:
        """Method path → handler."""
        return {"/tensorflow.serving.ModelService/HandleReloadConfigRequest": self.reload}

    async def reload(self, exchange: Exchange) -> bytes:
        """HandleReloadConfigRequest: the answer comes when the new set serves."""
        asked = parse(message("tensorflow.serving.ReloadConfigRequest"), exchange.body)
        await self._core.command(read_reload(asked), {})
        answer = message("tensorflow.serving.ReloadConfigResponse")()
        answer.status.SetInParent()
        return bytes(answer.SerializeToString())


def read_reload(asked: Any) -> Reload:
    """Read the models of a configuration.

    Raises:
        MalformedRequest: there is no list of models, or one without a name or a path.
    """
    if not asked.config.HasField("model_config_list"):
        raise MalformedRequest("config.model_config_list must be given; it may be empty")
    return Reload(models=tuple(_wanted(one) for one in asked.config.model_config_list.config))


def _wanted(config: Any) -> WantedModel:
    if not config.name or not config.base_path:
        raise MalformedRequest("every model of model_config_list needs a name and a base_path")
    return WantedModel(
        name=config.name,
        path=config.base_path.removeprefix(_SCHEME),
        policy=_policy(config.model_version_policy),
        labels=dict(config.version_labels),
    )


def _policy(policy: Any) -> VersionPolicy:
    """TensorFlow Serving serves the newest version where nothing is said."""
    match policy.WhichOneof("policy_choice"):
        case "all":
            return VersionPolicy()
        case "specific":
            return VersionPolicy(specific=tuple(policy.specific.versions))
        case "latest" if policy.latest.num_versions:
            return VersionPolicy(latest=policy.latest.num_versions)
    return VersionPolicy(latest=1)
