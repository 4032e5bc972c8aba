"""ResNet-50 and BERT-base as PyTorch programs, written here, with random weights.

Their answers mean nothing, their speed is that of trained ones. Norms of ResNet-50 are folded into
its convolutions, as one does before serving it; its tensors have the channels last, which is what
GPUs multiply fastest in 16 bits.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from headrace.load.apis.contract import Inputs

Module: Any = nn.Module  # whose subclasses mypy takes alike with PyTorch and without

_STAGES = ((3, 1), (4, 2), (6, 4), (3, 8))  # blocks, and how wide they are
_EXPANSION = 4
_CLASSES = 1000
# ImageNet's usual numbers, of values from 0 to 1.
_PIXELS = {
    "scale": 1 / 255,
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "channels_last": True,
}


class Shape(NamedTuple):
    """How large a network is; tests have small ones."""

    width: int
    side: int  # of images, or words of a sentence
    layers: int = 12  # at most, of each stage of ResNet
    words: int = 30522


FULL = {"resnet50": Shape(64, 224), "bert-base": Shape(768, 128)}


def write(name: str, folder: Path, shape: Shape | None = None) -> Path:
    """Write one of them as ``headrace serve`` takes it, if it is not there; return its folder."""
    home = folder / name
    file = home / "1" / "model.pt2"
    if file.exists():
        return home
    file.parent.mkdir(parents=True, exist_ok=True)
    network, examples = _made(name, shape or FULL[name])
    free = tuple({0: torch.export.Dim.DYNAMIC} for _ in examples)
    with torch.no_grad():
        program = torch.export.export(network, examples, dynamic_shapes=free)
    card = {"normalise": {"image": _PIXELS}} if name == "resnet50" else {}
    (home / "card.yaml").write_text(json.dumps(card), encoding="utf-8")
    part = file.with_suffix(".part.pt2")
    torch.export.save(program, part)
    part.replace(file)
    return home


def requests(name: str, rows: int, count: int, shape: Shape | None = None) -> list[Inputs]:
    """So many different requests of so many rows."""
    random = np.random.default_rng(7)
    return [_request(name, rows, random, shape or FULL[name]) for _ in range(count)]


def _request(name: str, rows: int, random: np.random.Generator, shape: Shape) -> Inputs:
    if name == "resnet50":
        return {"image": random.integers(0, 256, (rows, shape.side, shape.side, 3), np.uint8)}
    words = random.integers(0, shape.words, (rows, shape.side), np.int64)
    return {"input_ids": words, "attention_mask": np.ones_like(words)}


def _made(name: str, shape: Shape) -> tuple[Any, tuple[Tensor, ...]]:
    torch.manual_seed(0)
    if name == "resnet50":
        images = torch.zeros(2, 3, shape.side, shape.side)
        return ResNet50(shape).eval(), (images,)
    words = torch.zeros(2, shape.side, dtype=torch.int64)
    return Bert(shape).eval(), (words, torch.ones_like(words))


class ResNet50(Module):  # type: ignore[misc]
    """Version 1.5: a block's stride is in its 3x3 convolution."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.width
        self.stem = nn.Conv2d(3, width, 7, 2, 3)
        channels, blocks = width, []
        for number, (repeats, factor) in enumerate(_STAGES):
            for repeat in range(min(repeats, shape.layers)):
                stride = 2 if number and not repeat else 1
                blocks.append(_Bottleneck(channels, width * factor, stride))
                channels = width * factor * _EXPANSION
        self.blocks = nn.Sequential(*blocks)
        self.classes = nn.Linear(channels, _CLASSES)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Give logits."""
        x = image.contiguous(memory_format=torch.channels_last)
        x = functional.max_pool2d(torch.relu(self.stem(x)), 3, 2, 1)
        return {"logits": self.classes(self.blocks(x).mean((2, 3)))}


class _Bottleneck(Module):  # type: ignore[misc]
    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        wide = width * _EXPANSION
        self.reduce = nn.Conv2d(channels, width, 1)
        self.filter = nn.Conv2d(width, width, 3, stride, 1)
        self.expand = nn.Conv2d(width, wide, 1)
        same = channels == wide and stride == 1
        self.skip: Any = nn.Identity() if same else nn.Conv2d(channels, wide, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.filter(torch.relu(self.reduce(x))))
        return torch.relu(self.expand(y) + self.skip(x))


class Bert(Module):  # type: ignore[misc]
    """The encoder, with heads of 64; gives the first word's vector."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.words = nn.Embedding(shape.words, shape.width)
        self.places = nn.Embedding(shape.side, shape.width)
        self.norm = nn.LayerNorm(shape.width)
        self.layers = nn.ModuleList(_Layer(shape.width) for _ in range(shape.layers))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """Give one vector a sentence."""
        x = self.norm(self.words(input_ids) + self.places.weight)
        mask = attention_mask.to(torch.bool)[:, None, None, :]
        for layer in self.layers:
            x = layer(x, mask)
        return {"vector": x[:, 0]}


class _Layer(Module):  # type: ignore[misc]
    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = max(width // 64, 1)
        self.ask, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        ask, key, value = (self._split(one(x)) for one in (self.ask, self.key, self.value))
        seen = functional.scaled_dot_product_attention(ask, key, value, mask)
        x = self.before(x + self.out(seen.transpose(1, 2).flatten(2)))
        found: Tensor = self.after(x + self.narrow(functional.gelu(self.wide(x))))
        return found

    def _split(self, x: Tensor) -> Tensor:
        rows, words, width = x.shape
        return x.view(rows, words, self.heads, width // self.heads).transpose(1, 2)
