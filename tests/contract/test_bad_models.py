"""Every bad model is refused with a reason that says why: where it is found, or where it is loaded.

Here both are this process. What ends the process that loads it, and what a bad card is to a server,
are in ``e2e/test_bad_models.py``, and what becomes of some of these there.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.engine.border import refusal
from headrace.engine.preparing import prepared
from headrace.engine_control import EngineSpec
from headrace.errors import HeadraceError
from headrace.loader.store import find_named
from headrace.settings import ModelSettings, Settings
from tests.contract.bad_models import CASES, Case, python_

HARMLESS = [
    case
    for kind, cases in CASES.items()
    for case in cases
    if kind != "cards" and (kind != "python" or case.name in python_.RAISING)
]


def take_up(models: Path, name: str) -> None:
    """Find a model as the supervisor does, and load it and warm it up as an engine does."""
    (found,) = find_named(Settings(models=(ModelSettings(path=models),)), name)
    spec = EngineSpec(
        name=name,
        version=found.version,
        path=str(found.path),
        socket_path="",
        settings=found.settings,
    )
    try:
        prepared(spec, lambda _: None)
    except Exception as error:
        raise refusal(error) from error


@pytest.mark.filterwarnings("default")  # those of libraries about such files are no errors
@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in HARMLESS])
def test_a_bad_model_is_refused_with_a_reason(case: Case, tmp_path: Path) -> None:
    case.build(tmp_path / "models")
    with pytest.raises(HeadraceError) as refused:
        take_up(tmp_path / "models", case.name)
    assert case.is_told(refused.value.message), refused.value.message
