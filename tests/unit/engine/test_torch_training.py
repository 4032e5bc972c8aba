"""A program that was exported in training mode answers by chance: it is refused, and told why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from headrace.engine import backends
from headrace.errors import ModelLoadError
from headrace.settings import ModelSettings
from tests.contract.test_formats import needs_torch

if TYPE_CHECKING:
    import torch

pytestmark = [
    needs_torch,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
    # Of the weights of an LSTM, as it is exported.
    pytest.mark.filterwarnings("ignore:The tensor attributes:UserWarning"),
]

TRAIN = (
    "Dropout",
    "AlphaDropout",
    "Dropout1d",
    "BatchNorm1d",
    "RReLU",
    "MultiheadAttention",
    "LSTM",
)


def layer(name: str) -> Any:
    """A layer that does otherwise while it is trained; or a model with it."""
    import torch  # noqa: PLC0415 - takes seconds

    class Attends(torch.nn.Module):  # type: ignore[misc,unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.inner = torch.nn.MultiheadAttention(4, 1, dropout=0.5)

        def forward(self, x: torch.Tensor) -> Any:
            return self.inner(x, x, x, need_weights=False)[0]

    class Recalls(torch.nn.Module):  # type: ignore[misc,unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.inner = torch.nn.LSTM(4, 4, num_layers=2, dropout=0.5)

        def forward(self, x: torch.Tensor) -> Any:
            return self.inner(x)[0]

    class Samples(torch.nn.Module):  # type: ignore[misc,unused-ignore]
        def forward(self, x: torch.Tensor) -> Any:
            return torch.bernoulli(torch.sigmoid(x))

    ours = {"MultiheadAttention": Attends, "LSTM": Recalls, "bernoulli": Samples}
    made: Any = ours.get(name) or getattr(torch.nn, name)
    return made(4) if name == "BatchNorm1d" else made()


def exported(module: torch.nn.Module, path: Path) -> Path:
    import torch  # noqa: PLC0415 - takes seconds

    torch.export.save(torch.export.export(module, (torch.zeros(2, 4),)), path)
    return path


@pytest.mark.parametrize("name", TRAIN)
def test_a_program_of_training_is_refused_and_one_of_evaluation_served(
    name: str, tmp_path: Path
) -> None:
    trained = exported(layer(name).train(), tmp_path / "trained.pt2")
    with pytest.raises(ModelLoadError, match=r"call model\.eval\(\) before torch\.export\.export"):
        backends.load(trained, ModelSettings())
    with capture_logs() as logs:
        backends.load(exported(layer(name).eval(), tmp_path / "model.pt2"), ModelSettings())
    assert logs == []


def test_decomposed_and_under_no_grad_it_is_seen_too(tmp_path: Path) -> None:
    import torch  # noqa: PLC0415 - takes seconds

    class Inner(torch.nn.Module):  # type: ignore[misc,unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.inner = torch.nn.Dropout()

        def forward(self, x: torch.Tensor) -> Any:
            with torch.no_grad():
                return self.inner(x) + 1

    whole = exported(Inner().train(), tmp_path / "whole.pt2")
    program = torch.export.export(layer("BatchNorm1d").train(), (torch.zeros(2, 4),))
    torch.export.save(program.run_decompositions(), tmp_path / "parts.pt2")
    for path in (whole, tmp_path / "parts.pt2"):
        with pytest.raises(ModelLoadError, match="exported in training mode"):
            backends.load(path, ModelSettings())


@pytest.mark.parametrize("in_parts", [False, True])
def test_what_training_does_not_change_is_served(in_parts: bool, tmp_path: Path) -> None:
    import torch  # noqa: PLC0415 - takes seconds

    same = (
        torch.nn.Dropout(0.0),
        torch.nn.BatchNorm1d(4, track_running_stats=False),
        torch.nn.InstanceNorm1d(2),
        torch.nn.LayerNorm(4),
    )
    for module in same:
        program = torch.export.export(module.train(), (torch.zeros(2, 4),))
        program = program.run_decompositions() if in_parts else program
        torch.export.save(program, tmp_path / "model.pt2")
        model = backends.load(tmp_path / "model.pt2", ModelSettings())[1]
        assert model.signature.inputs[0].shape == (2, 4)


def test_a_buffer_of_the_models_own_is_no_training_though_it_is_called_as_in_a_norm(
    tmp_path: Path,
) -> None:
    import torch  # noqa: PLC0415 - takes seconds

    class Averages(torch.nn.Module):  # type: ignore[misc,unused-ignore]
        running_mean: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("running_mean", torch.zeros(4))

        def forward(self, x: torch.Tensor) -> Any:
            self.running_mean.mul_(0.9).add_(x.mean(0))
            return x - self.running_mean

    path = exported(Averages().eval(), tmp_path / "model.pt2")
    with pytest.raises(ModelLoadError, match="it changes running_mean when it runs"):
        backends.load(path, ModelSettings())


@pytest.mark.parametrize("in_parts", [False, True])
def test_statistics_that_are_still_learned_are_of_training(in_parts: bool, tmp_path: Path) -> None:
    import torch  # noqa: PLC0415 - takes seconds

    module = torch.nn.InstanceNorm1d(4, track_running_stats=True).train()
    program = torch.export.export(module, (torch.zeros(2, 4, 8),))
    program = program.run_decompositions() if in_parts else program
    torch.export.save(program, tmp_path / "model.pt2")
    with pytest.raises(ModelLoadError, match="exported in training mode"):
        backends.load(tmp_path / "model.pt2", ModelSettings())


def test_a_program_that_draws_numbers_is_served_with_a_warning(tmp_path: Path) -> None:
    path = exported(layer("bernoulli"), tmp_path / "model.pt2")
    with capture_logs() as logs:
        backends.load(path, ModelSettings())
    assert [(one["event"], one["operators"]) for one in logs] == [
        ("answers_are_random", ["aten::bernoulli"])
    ]
