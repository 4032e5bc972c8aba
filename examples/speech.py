"""Speech to segments: what surrounds the voice-activity model."""

from __future__ import annotations

import wave
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 16_000
PIECE = 512
"""Samples of one piece: 32 ms."""

_CONTEXT = 64  # samples of the piece before, which the model wants to see again
_SPEAKING = 0.5
_INT16 = 32768

Samples = NDArray[np.float32]
Hear = Callable[[Samples, Samples], tuple[float, Samples]]
"""Asks the model: a piece and what it remembers → probability, and what it remembers now."""

Ask = Callable[[Samples, bool, bool], float]
"""Asks a server that remembers: a piece, whether it is the first, and the last → probability."""


def load(path: Path) -> Samples:
    """Read a 16 kHz wave file as numbers from -1 to 1."""
    with wave.open(str(path)) as file:
        if (file.getframerate(), file.getsampwidth(), file.getnchannels()) != (RATE_HZ, 2, 1):
            raise ValueError(f"{path} should be 16 kHz, 16 bits, one channel")
        data = file.readframes(file.getnframes())
    return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(_INT16)


def pieces(samples: Samples) -> Iterator[Samples]:
    """Cut sound into what the model takes: (1,576), 64 samples from before and 512 new ones."""
    sound = np.concatenate([np.zeros(_CONTEXT, np.float32), samples])
    for start in range(0, len(samples) - PIECE + 1, PIECE):
        yield sound[None, start : start + _CONTEXT + PIECE]


def listen(samples: Samples, hear: Hear) -> list[float]:
    """Return the probability of speech in each piece, the memory going from one to the next."""
    memory, probabilities = np.zeros((2, 1, 128), np.float32), []
    for piece in pieces(samples):
        probability, memory = hear(piece, memory)
        probabilities.append(probability)
    return probabilities


def attend(samples: Samples, ask: Ask) -> list[float]:
    """Return the probability of speech in each piece; the server remembers."""
    cut = list(pieces(samples))
    last = len(cut) - 1
    return [ask(piece, number == 0, number == last) for number, piece in enumerate(cut)]


def segments(probabilities: Sequence[float]) -> list[tuple[float, float]]:
    """Return when somebody speaks: start and end in seconds."""
    speaking = np.array([0, *(p > _SPEAKING for p in probabilities), 0], np.int8)
    edges = np.flatnonzero(np.diff(speaking)) * (PIECE / RATE_HZ)
    return [(float(start), float(end)) for start, end in edges.reshape(-1, 2)]
