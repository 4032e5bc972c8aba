"""What surrounds the models in the examples: drawing, spelling, cutting sound."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from examples import speech, text_lines

LETTERS = ["", "a", "b", "c", " "]


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        ([1, 2, 3], "abc"),
        ([0, 1, 1, 1, 0, 0, 2], "ab"),
        ([1, 0, 1], "aa"),
        ([1, 1], "a"),
        ([1, 4, 2], "a b"),
        ([0, 0], ""),
        ([], ""),
    ],
)
def test_steps_are_spelled_by_their_changes(steps: list[int], text: str) -> None:
    assert text_lines.spell(steps, LETTERS) == text


def test_steps_may_come_as_an_array_of_any_numbers() -> None:
    assert text_lines.spell(np.array([1, 0, 2], np.int64), LETTERS) == "ab"
    assert text_lines.spell(np.array([1, 0, 2], np.float32), LETTERS) == "ab"


def test_spaces_do_not_count_and_everything_else_does() -> None:
    assert text_lines.same_letters(" InvoiceNo. 7", "Invoice No. 7")
    assert not text_lines.same_letters("Invoice No. 1", "Invoice No. 7")


def test_a_longer_line_is_a_wider_image_of_the_same_height() -> None:
    short, long = text_lines.draw("Gate"), text_lines.draw("Gate 7, 18:45")
    assert short.shape[:3] == long.shape[:3] == (1, 3, text_lines.HEIGHT)
    assert short.shape[3] < long.shape[3]
    assert (short.min(), short.max()) == (-1, 1)
    assert short.dtype == np.float32


def test_sound_is_cut_into_pieces_that_overlap() -> None:
    samples = np.arange(3 * speech.PIECE + 100, dtype=np.float32)
    pieces = list(speech.pieces(samples))
    assert [piece.shape for piece in pieces] == [(1, 64 + speech.PIECE)] * 3
    assert not pieces[0][0, :64].any()
    np.testing.assert_array_equal(pieces[1][0, :64], samples[speech.PIECE - 64 : speech.PIECE])
    np.testing.assert_array_equal(np.concatenate([p[0, 64:] for p in pieces]), samples[:-100])


def test_what_the_model_remembers_goes_with_the_next_piece() -> None:
    heard: list[float] = []

    def hear(_: speech.Samples, memory: speech.Samples) -> tuple[float, speech.Samples]:
        heard.append(float(memory[0, 0, 0]))
        return memory[0, 0, 0] / 10, memory + 1

    assert speech.listen(np.zeros(3 * speech.PIECE, np.float32), hear) == [0, 0.1, 0.2]
    assert heard == [0, 1, 2]


def test_a_recording_says_which_piece_is_the_first_and_which_the_last() -> None:
    said: list[tuple[bool, bool]] = []

    def ask(_: speech.Samples, first: bool, last: bool) -> float:
        said.append((first, last))
        return len(said) / 10

    assert speech.attend(np.zeros(3 * speech.PIECE, np.float32), ask) == [0.1, 0.2, 0.3]
    assert said == [(True, False), (False, False), (False, True)]


@pytest.mark.parametrize(
    ("probabilities", "spans"),
    [
        ([0.1, 0.9, 0.9, 0.1], [(1, 3)]),
        ([0.9, 0.1, 0.9], [(0, 1), (2, 3)]),
        ([0.1, 0.2], []),
    ],
)
def test_speech_lasts_from_where_it_becomes_likely_to_where_it_ends(
    probabilities: list[float], spans: list[tuple[int, int]]
) -> None:
    expected = [(start * 0.032, end * 0.032) for start, end in spans]
    assert speech.segments(probabilities) == [pytest.approx(span) for span in expected]


def test_a_recording_of_another_rate_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "telephone.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\0\0" * 100)
    with pytest.raises(ValueError, match="16 kHz"):
        speech.load(path)
