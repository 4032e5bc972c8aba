"""What the documentation tells its readers to do works, and gives the answers it shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, read
from tests.docs.walkthrough import Walk


@pytest.mark.alone
@pytest.mark.slow
def test_start_can_be_followed_from_the_first_line_to_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Walk() as walk:
        walk.follow(read(ROOT / "docs" / "start.md"))
        assert len(walk.said) > 20


@pytest.mark.slow
def test_the_page_of_the_client_can_be_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Walk() as walk:
        (start,) = [
            f for f in read(ROOT / "docs" / "start.md").fences("python") if "save(" in f.text
        ]
        walk.run(start.text)
        walk.follow(read(ROOT / "docs" / "client.md"))
        assert len([text for text in walk.said if text]) == 4


@pytest.mark.slow
def test_the_readme_serves_a_model_and_asks_it_in_three_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Walk() as walk:
        (start,) = [
            f for f in read(ROOT / "docs" / "start.md").fences("python") if "save(" in f.text
        ]
        walk.run(start.text.replace("linear.onnx", "model.onnx"))
        walk.follow(read(ROOT / "README.md"))
        asked = [text for text in walk.said if text]
        assert len(asked) == 3
        for text in asked:
            assert (
                re.findall(r"[0-9.]+", text)[-3:] == ["5.", "6.", "7."] or "[5.0, 6.0, 7.0]" in text
            )
