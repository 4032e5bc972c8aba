"""Files through a real server: by content type, as a form, in JSON; and what is no such file."""

from __future__ import annotations

import base64
import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from examples import text_lines
from tests.e2e.clients import http, outcomes
from tests.e2e.media_models import write_media
from tests.e2e.server import Server
from tests.unit.media.files import bomb, encode, flag, sound, tone
from tests.unit.zoo.shelf import model, sample
from zoo.sources import COFFEE

# The mean of the flag: half red, half blue.
MEAN = [127.5, 0, 127.5]
NOTHING = b"--b--\r\n"
# Larger ones would be warmed up, slowly.
FEW = ("--max-batch", "2")


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    limit = {"HEADRACE_SERVER__MAX_BODY_MIB": "1"}
    root = write_media(tmp_path_factory.mktemp("media"))
    with Server(root, environment=limit) as running:
        yield running


def send(server: Server, name: str, kind: str, body: bytes) -> tuple[int, Any, dict[str, str]]:
    return http(f"{server.url}/predict/{name}", body, {"content-type": kind})


def b64(data: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(data).decode()}


# -- one answer, whichever way the file comes ------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF"])
def test_an_image_as_the_body(media: Server, kind: str) -> None:
    assert send(media, "color", f"image/{kind.lower()}", flag(kind))[:2] == (
        200,
        {"output": [MEAN]},
    )


def test_an_image_in_a_form_and_several_as_rows(media: Server) -> None:
    white = encode(Image.new("RGB", (8, 4), "white"))
    files = [("photo", ("a.png", flag(), "image/png")), ("photo", ("b.png", white, "image/png"))]
    answer = requests.post(f"{media.url}/predict/color", files=files, timeout=30)
    assert answer.json() == {"output": [MEAN, [255, 255, 255]]}


@pytest.mark.parametrize("key", ["input", "inputs"])
def test_an_image_in_json(media: Server, key: str) -> None:
    assert http(f"{media.url}/predict/color", {key: b64(flag())})[1] == {"output": [MEAN]}
    named = {key: {"photo": [b64(flag())]}}
    assert http(f"{media.url}/predict/color/versions/1", named)[1] == {"output": [MEAN]}


def test_tensors_go_on_as_before(media: Server) -> None:
    pixels = np.full((1, 4, 8, 3), 7).tolist()
    assert http(f"{media.url}/predict/color", {"input": pixels})[1] == {"output": [[7, 7, 7]]}
    assert http(f"{media.url}/v1/models/color:predict", {"instances": pixels})[0] == 200


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG"])
def test_a_sound_as_the_body(media: Server, kind: str) -> None:
    status, answer, _ = send(media, "peak", "audio/ogg", sound(tone(), kind=kind))
    assert status == 200
    assert answer["output"][0][0] == pytest.approx(0.5, abs=0.06)


def test_a_sound_of_another_rate(media: Server) -> None:
    _, answer, _ = send(media, "peak", "audio/wav", sound(tone(44100), 44100))
    assert answer["output"][0][0] == pytest.approx(0.5, abs=0.02)


def test_text_as_the_body_in_a_form_and_in_json(media: Server) -> None:
    wanted = {"output": [[2, 3, 4]]}
    assert send(media, "tokens", "text/plain; charset=utf-8", b"the cat sat")[1] == wanted
    form = requests.post(
        f"{media.url}/predict/tokens", files={"text": (None, "the cat sat")}, timeout=30
    )
    assert form.json() == wanted
    several = http(f"{media.url}/predict/tokens", {"input": ["the cat sat", "cat"]})[1]
    assert several == {"output": [[2, 3, 4], [3, 0, 0]]}


def test_many_at_once_get_their_own_answers(media: Server) -> None:
    def ask(value: int) -> Any:
        file = encode(Image.new("RGB", (600, 300), (value, 0, 0)), "JPEG", quality=95)
        return send(media, "color", "image/jpeg", file)[1]["output"][0][0]

    values = list(range(0, 256, 8))
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, values))
    assert np.abs(np.array(answers) - values).max() < 3


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "body", "status", "code"),
    [
        ("color", "image/png", b"hello", 400, "invalid_input"),
        ("color", "image/png", b"", 400, "invalid_input"),
        ("color", "image/png", flag()[:45], 400, "invalid_input"),
        ("color", "image/png", bomb(50_000), 413, "body_too_large"),
        ("color", "image/png", b"\0" * (2**20 + 1), 413, "body_too_large"),
        ("color", "audio/wav", sound(tone()), 415, "unsupported_encoding"),
        ("color", "video/mp4", b"x", 400, "malformed_request"),
        ("color", "multipart/form-data", NOTHING, 400, "malformed_request"),
        ("color", "multipart/form-data; boundary=b", NOTHING, 400, "malformed_request"),
        ("color", "multipart/form-data; boundary=b", b"hello", 400, "malformed_request"),
        ("color", "multipart/form-data; boundary=\xff", b"hello", 400, "malformed_request"),
        ("color", "multipart/mixed; boundary=b", NOTHING, 415, "unsupported_encoding"),
        ("color", "application/json", b'{"input": {"b64": "%%"}}', 400, "invalid_input"),
        ("peak", "audio/wav", b"RIFF", 400, "invalid_input"),
        ("peak", "audio/wav", sound(tone(seconds=3)), 413, "body_too_large"),
        ("tokens", "text/plain", b"\xff", 400, "invalid_input"),
        ("tokens", "text/plain", b"", 400, "invalid_input"),
        ("nobody", "image/png", flag(), 404, "model_not_found"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_reason(
    media: Server, name: str, kind: str, body: bytes, status: int, code: str
) -> None:
    found = send(media, name, kind, body)
    assert (found[0], found[2].get("headrace-error")) == (status, code)
    assert found[1]["error"]
    assert send(media, "color", "image/png", flag())[0] == 200


def test_rows_of_different_lengths_are_refused(media: Server) -> None:
    sounds = [b64(sound(tone(seconds=s))) for s in (0.1, 0.2)]
    status, answer, _ = http(f"{media.url}/predict/peak", {"input": sounds})
    assert status == 400
    assert "send each by itself" in answer["error"]


def test_a_file_counts_with_its_model(media: Server) -> None:
    before = outcomes(media.url, "color").get("invalid_input", 0)
    send(media, "color", "image/png", b"hello")
    assert outcomes(media.url, "color")["invalid_input"] == before + 1


def test_nobody_waits_for_a_large_photo(media: Server) -> None:
    large = encode(Image.new("L", (8000, 6000)), "PNG")
    answer, longest_s = _beside(media, "color", "image/png", large)
    assert answer == {"output": [[0, 0, 0]]}
    assert longest_s < 1.0


def test_nobody_waits_for_a_long_text(media: Server) -> None:
    answer, longest_s = _beside(media, "tokens", "text/plain", b"a " * 2**19)
    assert answer == {"output": [[1] * 2**19]}
    assert longest_s < 0.5


def _beside(server: Server, name: str, kind: str, body: bytes) -> tuple[Any, float]:
    """The answer, and the longest that somebody else waited meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(send, server, name, kind, body)
        longest_s = 0.0
        while not waiting.done():
            start_s = time.monotonic()
            assert http(f"{server.url}/livez")[0] == 200
            longest_s = max(longest_s, time.monotonic() - start_s)
        return waiting.result()[1], longest_s


# -- models that cannot have what their card says --------------------------------------------------


def test_a_card_that_does_not_fit_fails_the_model_at_once(tmp_path: Path) -> None:
    wrong = {
        "foto": ("{kind: image, input: foto}", "there is no input 'foto'; inputs: photo"),
        "rate": ("{kind: audio, input: photo, rate_hz: 8000}", "samples are floating-point"),
        "ids": ("{kind: text, tokenizer: t.json}", "there is no input 'input_ids'"),
    }
    write_media(tmp_path)
    for name, (accepted, _) in wrong.items():
        shutil.copytree(tmp_path / "color", tmp_path / name)
        (tmp_path / name / "card.yaml").write_text(f"accepts: [{accepted}]")
        (tmp_path / name / "t.json").touch()
    with Server(*(tmp_path / name for name in (*wrong, "peak"))) as running:
        for name, (_, says) in wrong.items():
            assert says in running.output
            told = send(running, name, "image/png", flag())[2]
            assert told["headrace-error"] == "model_failed", name


def test_a_missing_library_fails_the_model_and_names_the_extra(tmp_path: Path) -> None:
    root, hidden = write_media(tmp_path / "models"), tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "soundfile.py").write_text("raise ImportError('not here')")
    with Server(root, environment={"PYTHONPATH": _with(hidden)}) as running:
        assert "pip install 'headrace[audio]'" in running.output
        assert send(running, "peak", "audio/wav", b"")[2]["headrace-error"] == "model_failed"
        assert send(running, "color", "image/png", flag())[0] == 200


def _with(folder: Path) -> str:
    return os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))


# -- real models -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real() -> Iterator[Server]:
    with Server(model("efficientnet-lite0"), model("pp-ocr-rec"), *FEW, timeout_s=200) as running:
        yield running


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_photo_is_named(real: Server) -> None:
    photo = sample(COFFEE).read_bytes()
    status, answer, _ = send(real, "efficientnet-lite0", "image/png", photo)
    assert status == 200
    logits = np.array(answer["output"][0])
    powers = np.exp(logits - logits.max())
    assert int(powers.argmax()) == 967  # espresso, with what PyTorch computes:
    assert powers.max() / powers.sum() == pytest.approx(0.951, abs=0.002)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_sentences_that_mean_the_same_are_near() -> None:
    sentences = [
        "A man is playing a guitar.",
        "Someone plays a musical instrument.",
        "The stock market fell sharply today.",
    ]
    with Server(model("minilm-text"), *FEW, timeout_s=200) as running:
        found = [send(running, "minilm-text", "text/plain", one.encode())[1] for one in sentences]
    means = [np.array(answer["output"][0]).mean(axis=0) for answer in found]
    guitar, instrument, stocks = (mean / np.linalg.norm(mean) for mean in means)
    assert guitar @ instrument == pytest.approx(0.684, abs=0.03)
    assert guitar @ stocks == pytest.approx(-0.054, abs=0.03)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("line", ["Invoice No. 20481", "Total: 1,234.50 EUR"])
def test_a_picture_of_a_line_is_read(real: Server, line: str) -> None:
    values = text_lines.draw(line)[0].transpose(1, 2, 0)[:, :, ::-1]
    file = encode(Image.fromarray(np.rint((values + 1) * 127.5).astype(np.uint8)))
    _, answer, _ = send(real, "pp-ocr-rec", "image/png", file)
    characters = text_lines.alphabet(model("pp-ocr-rec"))
    assert text_lines.same_letters(text_lines.spell(answer["output"][0], characters), line)
