"""Devices by their one name."""

from __future__ import annotations

import pytest

from headrace.device import gpu_index
from headrace.errors import SettingsError
from headrace.layers import load, resolve
from headrace.settings import Card, ModelSettings


@pytest.mark.parametrize(
    ("said", "name", "index"),
    [
        ("cpu", "cpu", None),
        ("cuda", "cuda:0", 0),
        ("cuda:0", "cuda:0", 0),
        ("CUDA:12", "cuda:12", 12),
    ],
)
def test_a_device_has_one_name(said: str, name: str, index: int | None) -> None:
    device = ModelSettings(device=said).device
    assert device == name
    assert gpu_index(device) == index


@pytest.mark.parametrize("said", ["gpu", "cuda:", "cuda:-1", "cuda:01", "cuda:one", ""])
def test_what_is_no_device_is_told_with_those_there_are(said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(None, {}, {"models": [{"path": "m.onnx"}], "models.*.device": said})
    assert "--device" in caught.value.message
    assert "should be cpu, cuda, or cuda:1 for the second GPU" in caught.value.message


def test_a_gpu_has_one_instance_unless_more_are_said() -> None:
    for said, expected in ((None, 1), (3, 3)):
        entry = ModelSettings(device="cuda", instances=said)
        assert resolve(entry, Card(), ModelSettings(), cores=16).instances == expected
