"""Small models of files: the mean colour of an image, the peak of a sound, a text's tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx import NodeProto, TensorProto, ValueInfoProto, helper
from tokenizers import Tokenizer, models, pre_tokenizers

WORDS = ("[PAD]", "[UNK]", "the", "cat", "sat")


def write_media(root: Path) -> Path:
    """Three models with their cards."""
    info = helper.make_tensor_value_info
    _write(
        root / "color",
        [
            *_mean_colour(),
        ],
        [info("photo", TensorProto.UINT8, ["N", 4, 8, 3])],
        [info("mean", TensorProto.FLOAT, ["N", 3])],
        "accepts:\n  - {kind: image, input: photo}\n",
    )
    _write(
        root / "peak",
        [helper.make_node("ReduceMax", ["sound"], ["peak"], axes=[1], keepdims=1)],
        [info("sound", TensorProto.FLOAT, ["N", "T"])],
        [info("peak", TensorProto.FLOAT, ["N", 1])],
        "accepts:\n  - {kind: audio, input: sound, rate_hz: 16000, max_s: 2}\n",
    )
    _write(
        root / "tokens",
        [helper.make_node("Identity", ["input_ids"], ["ids"])],
        [info("input_ids", TensorProto.INT64, ["N", "L"])],
        [info("ids", TensorProto.INT64, ["N", "L"])],
        "accepts:\n  - {kind: text, tokenizer: tokenizer.json}\n",
    )
    write_tokenizer(root / "tokens")
    return root


def write_mixed(root: Path) -> None:
    """A model of a photo, a text and a number, which gives what it got."""
    info = helper.make_tensor_value_info
    _write(
        root / "mixed",
        [
            *_mean_colour(),
            helper.make_node("Identity", ["input_ids"], ["ids"]),
            helper.make_node("Identity", ["scale"], ["scaled"]),
        ],
        [
            info("photo", TensorProto.UINT8, ["N", 64, 64, 3]),
            info("input_ids", TensorProto.INT64, ["N", "L"]),
            info("scale", TensorProto.FLOAT, ["N", 1]),
        ],
        [
            info("mean", TensorProto.FLOAT, ["N", 3]),
            info("ids", TensorProto.INT64, ["N", "L"]),
            info("scaled", TensorProto.FLOAT, ["N", 1]),
        ],
        "accepts:\n  - {kind: image, input: photo}\n  - {kind: text, tokenizer: tokenizer.json}\n",
    )
    write_tokenizer(root / "mixed")


def _mean_colour() -> list[NodeProto]:
    return [
        helper.make_node("Cast", ["photo"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float"], ["mean"], axes=[1, 2], keepdims=0),
    ]


def write_tokenizer(folder: Path, words: Sequence[str] = WORDS) -> None:
    """One that numbers these words, renamed over another that may be there."""
    numbers = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token="[UNK]"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / ".new.json"))
    (folder / ".new.json").rename(folder / "tokenizer.json")


def _write(
    folder: Path,
    nodes: list[NodeProto],
    inputs: list[ValueInfoProto],
    outputs: list[ValueInfoProto],
    card: str,
) -> None:
    (folder / "1").mkdir(parents=True)
    graph = helper.make_graph(nodes, folder.name, inputs, outputs)
    opset = [helper.make_opsetid("", 17)]
    made = helper.make_model(graph, opset_imports=opset, ir_version=9)
    onnx.save(made, str(folder / "1" / "model.onnx"))
    (folder / "card.yaml").write_text(card + "max_batch: 4\n")
