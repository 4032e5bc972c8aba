"""What several receivers cannot do is refused, with what to change; what they can is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.errors import SettingsError
from headrace.loader.several import check_model, check_models, check_server
from headrace.server_settings import ServerSettings, Share
from headrace.settings import ModelSettings, Sequence, StateTensor

TWO = ServerSettings(receivers=2)
STATE = Sequence(state=(StateTensor(input="h", output="h2"),))


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"shared_memory": True}, "shared_memory"), ({"trace_dir": Path("/traces")}, "trace_dir")],
)
def test_what_clients_turn_on_in_one_receiver_needs_one(
    settings: dict[str, object], named: str
) -> None:
    check_server(ServerSettings.model_validate({**settings, "receivers": 1}))
    with pytest.raises(SettingsError, match=rf"{named}.*set server\.receivers to 1"):
        check_server(ServerSettings.model_validate({**settings, "receivers": 2}))


def test_a_model_with_state_needs_one_receiver() -> None:
    check_model(ServerSettings(), "m", ModelSettings(sequence=STATE), {})
    with pytest.raises(SettingsError, match=r"'m' keeps state.*server\.receivers to 1"):
        check_model(TWO, "m", ModelSettings(sequence=STATE), {})


def test_steering_is_refused_where_it_was_asked_for() -> None:
    check_model(TWO, "m", ModelSettings(), {})
    check_model(TWO, "m", ModelSettings(control=False), {"control": "settings"})
    with pytest.raises(SettingsError, match="control: true"):
        check_model(TWO, "m", ModelSettings(), {"control": "card"})


def test_models_that_take_turns_need_one_receiver() -> None:
    check_models(TWO, ["a", "a"])  # versions of one model are no others
    check_models(ServerSettings(), ["a", "b"])
    check_models(ServerSettings(receivers=2, share=Share.KERNEL), ["a", "b"])
    with pytest.raises(SettingsError, match=r"2 models \(a, b\).*server\.share to kernel"):
        check_models(TWO, ["b", "a"])
