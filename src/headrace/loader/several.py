"""What several receivers cannot do: refused when the models are found, with what to change. Pure.

Each receiver sees a part of the requests. What would need all of them in one place is not done
half: the turns between models, the state of sequences, how many lanes run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from headrace.errors import SettingsError
from headrace.server_settings import ServerSettings, Share
from headrace.settings import ModelSettings


def check_server(server: ServerSettings) -> None:
    """Check that the server can have so many receivers.

    Raises:
        SettingsError: it cannot.
    """
    if server.receivers == 1:
        return
    if server.shared_memory:
        raise SettingsError(
            "server.shared_memory: a region is registered with one receiver, and the next request "
            "may come to another: set server.receivers to 1"
        )
    if server.trace_dir is not None:
        raise SettingsError(
            "server.trace_dir: traces are turned on in one receiver, and the next request may come "
            "to another: set server.receivers to 1"
        )


def check_model(
    server: ServerSettings, name: str, settings: ModelSettings, origins: Mapping[str, str]
) -> None:
    """Check that a model can be served by so many receivers.

    Raises:
        SettingsError: it cannot.
    """
    if server.receivers == 1:
        return
    if settings.sequence is not None:
        raise SettingsError(
            f"model {name!r} keeps state between requests (`sequence`), which lives in one "
            "receiver: set server.receivers to 1"
        )
    if settings.control and origins.get("control", "default") != "default":
        raise SettingsError(
            f"model {name!r}: `control: true` steers by what one receiver sees: remove it, for "
            "with several receivers all lanes always run, or set server.receivers to 1"
        )


def check_models(server: ServerSettings, names: Iterable[str]) -> None:
    """Check that so many models can be served by so many receivers.

    Raises:
        SettingsError: they would have to take turns.
    """
    distinct = sorted(set(names))
    if server.receivers > 1 and server.share is Share.FAIR and len(distinct) > 1:
        raise SettingsError(
            f"{len(distinct)} models ({', '.join(distinct)}) take turns at the cores, which "
            "several receivers cannot see to: set server.share to kernel, or server.receivers to 1"
        )
