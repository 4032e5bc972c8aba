"""Samples at another rate: a bank of windowed sincs, one for each fraction of a sample.

What is above half of the lower rate is left out, so nothing is mirrored into what can be heard.
"""

from __future__ import annotations

import math

import numpy as np

from headrace.values import Array

# Zero crossings of the sinc on each side: the transition is then about a tenth of the band.
_CROSSINGS = 24
# The Kaiser window's: what is left of what should not be there is 80 dB below.
_BETA = 8.0
# Between odd rates there are thousands of fractions: they share this many filters (-66 dB), of a
# sample at the lower rate.
_MOST_FRACTIONS = 1024
# Samples gathered at once where outputs are not at equal distances.
_GATHERED = 2**20
# Where the filter begins to close, of half the lower rate.
_ROLL_OFF = 0.94


def resample(samples: Array, rate_hz: int, wanted_hz: int) -> Array:
    """Return (channels, samples) of float32 at ``wanted_hz``."""
    if rate_hz == wanted_hz or not samples.shape[-1]:
        return samples
    shared = math.gcd(rate_hz, wanted_hz)
    up, down = wanted_hz // shared, rate_hz // shared
    count = -(-samples.shape[-1] * up // down)
    cutoff = _ROLL_OFF * min(1.0, up / down)
    half = math.ceil(_CROSSINGS / cutoff)
    padded = np.pad(samples, ((0, 0), (half, half + 1 + down // up)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half, axis=-1)
    out = np.empty((samples.shape[0], count), np.float32)
    steps = min(up, math.ceil(_MOST_FRACTIONS * min(1.0, up / down)))
    if steps < up:
        return _shared(windows, out, up, down, steps, cutoff)
    for phase in range(min(up, count)):
        # Every up-th output lies at the same fraction of a sample, `down` samples apart.
        start, fraction = divmod(phase * down, up)
        here = windows[:, start + 1 :: down][:, : -(-(count - phase) // up)]
        out[:, phase::up] = here @ _taps(half, cutoff, fraction / up)
    return out


def _shared(windows: Array, out: Array, up: int, down: int, steps: int, cutoff: float) -> Array:
    """Fill ``out`` filter by filter: however many fractions there are, they share ``steps``."""
    width, count = windows.shape[-1], out.shape[-1]
    # Every up-th output lies at the same fraction, `down` samples further: one lap tells of all.
    starts, fractions = np.divmod(np.arange(min(up, count)) * down, up)
    nearest = np.rint(fractions * (steps / up)).astype(np.int64)
    order = np.argsort(nearest, kind="stable")
    wanted, firsts = np.unique(nearest[order], return_index=True)
    laps = np.arange(-(-count // up))[:, np.newaxis]
    at_once = max(1, _GATHERED // width)
    for step, lap in zip(wanted, np.split(order, firsts[1:]), strict=True):
        taps = _taps(width // 2, cutoff, step / steps)
        outputs = (laps * up + lap).ravel()
        outputs = outputs[: np.searchsorted(outputs, count)]
        sources = (laps * down + starts[lap] + 1).ravel()
        for first in range(0, len(outputs), at_once):
            some = outputs[first : first + at_once]
            out[:, some] = windows[:, sources[first : first + len(some)]] @ taps
    return out


def _taps(half: int, cutoff: float, fraction: float) -> Array:
    at = np.arange(2 * half) - (half - 1) - fraction
    window = np.i0(_BETA * np.sqrt(np.clip(1 - (at / half) ** 2, 0, 1))) / np.i0(_BETA)
    taps = cutoff * np.sinc(cutoff * at) * window
    normal: Array = (taps / taps.sum()).astype(np.float32)
    return normal
