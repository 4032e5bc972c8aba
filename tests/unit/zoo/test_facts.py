"""What is known of the real models, asked of the files themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from examples import speech, text_lines
from tests.unit.zoo.shelf import model, sample
from zoo.sources import COFFEE, SPEECH

# A download the first time; the pinned packages are up to 20 MB.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

# [CLS] … [SEP] in the vocabulary of BERT.
GUITAR = [101, 1037, 2158, 2003, 2652, 1037, 2858, 1012, 102]  # A man is playing a guitar.
INSTRUMENT = [101, 2619, 3248, 1037, 3315, 6602, 1012, 102]  # Someone plays a musical instrument.
STOCKS = [
    101,
    1996,
    4518,
    3006,
    3062,
    9073,
    2651,
    1012,
    102,
]  # The stock market fell sharply today.


def _session(folder: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(folder / "1/model.onnx"))


def _read(session: onnxruntime.InferenceSession, image: Any) -> Any:
    return session.run(None, {"x": image})[0]


# -- pp-ocr-rec ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line", ["Invoice No. 20481", "Total: 1,234.50 EUR", "Gate 7, boarding at 18:45"]
)
def test_the_recogniser_reads_a_line_of_text(line: str) -> None:
    folder = model("pp-ocr-rec")
    (steps,) = _read(_session(folder), text_lines.draw(line))
    read = text_lines.spell(steps.argmax(-1), text_lines.alphabet(folder))
    assert text_lines.same_letters(read, line)


def test_the_alphabet_has_a_line_for_every_class() -> None:
    folder = model("pp-ocr-rec")
    characters = text_lines.alphabet(folder)
    assert len(characters) == _session(folder).get_outputs()[0].shape[-1] == 6625
    assert (characters[0], characters[-1]) == ("", " ")
    assert all(len(character) == 1 for character in characters[1:])


def test_padding_on_the_right_does_not_change_what_is_read() -> None:
    folder = model("pp-ocr-rec")
    session, characters = _session(folder), text_lines.alphabet(folder)
    line = text_lines.draw("Total: 1,234.50 EUR")
    padded = np.pad(line, ((0, 0), (0, 0), (0, 0), (0, 640 - line.shape[3])))
    both = [_read(session, image)[0].argmax(-1) for image in (line, padded)]
    assert text_lines.same_letters(*(text_lines.spell(steps, characters) for steps in both))


# -- silero-vad ------------------------------------------------------------------------------------


def _listen(samples: speech.Samples) -> list[float]:
    session = _session(model("silero-vad"))

    def hear(piece: speech.Samples, memory: speech.Samples) -> tuple[float, speech.Samples]:
        output, after = session.run(None, {"input": piece, "state": memory, "sr": np.array(16_000)})
        return float(output[0, 0]), after

    return speech.listen(samples, hear)


def test_the_listener_hears_six_phrases() -> None:
    phrases = speech.segments(_listen(speech.load(sample(SPEECH))))
    assert len(phrases) == 6
    assert phrases[0] == pytest.approx((0.35, 1.18), abs=0.05)
    assert phrases[-1] == pytest.approx((8.16, 8.86), abs=0.05)


def test_the_listener_hears_nothing_in_silence_and_noise() -> None:
    noise = np.random.default_rng(0).normal(0, 0.005, 32_000).astype(np.float32)
    assert max(_listen(np.zeros(32_000, np.float32))) < 0.2
    assert np.mean(_listen(noise)) < 0.05


# -- minilm ----------------------------------------------------------------------------------------


def _embed(session: onnxruntime.InferenceSession, *sentences: list[int]) -> Any:
    length = max(map(len, sentences))
    ids = np.array([tokens + [0] * (length - len(tokens)) for tokens in sentences], np.int64)
    mask = (ids != 0).astype(np.int64)
    feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    states = session.run(None, feed)[0]
    sums = (states * mask[..., None]).sum(1)
    return sums / np.linalg.norm(sums, axis=1, keepdims=True)


def test_sentences_that_mean_the_same_are_near() -> None:
    embeddings = _embed(_session(model("minilm-int8")), GUITAR, INSTRUMENT, STOCKS)
    alike = embeddings @ embeddings.T
    assert alike[0, 1] == pytest.approx(0.684, abs=0.01)
    assert alike[0, 2] == pytest.approx(-0.054, abs=0.01)


# -- efficientnet-lite0 ----------------------------------------------------------------------------


def test_the_converted_network_sees_the_espresso() -> None:
    folder = model("efficientnet-lite0")
    labels = (folder / "labels.txt").read_text("utf-8").split("\n")
    image = Image.open(sample(COFFEE)).convert("RGB")
    scale = 256 / min(image.size)
    image = image.resize(
        (round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC
    )
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    pixels = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32)
    values = ((pixels - 127) / 128).transpose(2, 0, 1)
    logits = _session(folder).run(None, {"input": np.stack([values, np.zeros_like(values)])})[0]
    powers = np.exp(logits[0] - logits[0].max())
    best = int(powers.argmax())
    assert (best, labels[best]) == (967, "espresso")
    # What the original code computes in PyTorch: 0.951.
    assert powers[best] / powers.sum() == pytest.approx(0.951, abs=0.002)


# -- random weights --------------------------------------------------------------------------------


def test_the_large_network_runs_and_its_numbers_stay_ordinary() -> None:
    session = _session(model("resnet50"))
    image = np.random.default_rng(0).random((2, 3, 224, 224), np.float32)
    (logits,) = session.run(None, {"input": image})
    assert logits.shape == (2, 1000)
    assert 0.01 < logits.std() < 100
    assert not np.array_equal(logits[0], logits[1])
