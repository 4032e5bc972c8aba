"""The file of samples: what is written is read again, by its owner alone."""

from __future__ import annotations

import stat
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from headrace.engine.samples import Sample, read, write
from headrace.errors import HeadraceError
from headrace.values import Array, DType

TENSORS: dict[str, Array] = {
    dtype.value: np.ones((2, 3)).astype(dtype.numpy) for dtype in DType if dtype is not DType.BYTES
}
TEXTS = np.array([[b"a", "\u00e9".encode(), b""]], object)


def test_every_dtype_and_shape_comes_back(tmp_path: Path) -> None:
    sample = Sample(TENSORS, {"text": TEXTS, "scalar": np.array(7), "none": np.zeros((1, 0))})
    write(tmp_path / "s", 3, [sample, sample])
    version, samples = read(tmp_path / "s")
    assert version == 3
    assert len(samples) == 2
    for before, after in zip(sample, samples[1], strict=True):
        assert before.keys() == after.keys()
        for name, array in before.items():
            np.testing.assert_array_equal(array, after[name])
            assert (array.dtype, array.shape) == (after[name].dtype, after[name].shape)
            assert after[name].flags.writeable
    assert samples[0].inputs["BF16"].dtype == ml_dtypes.bfloat16


def test_rows_that_are_one_seen_many_times_are_written_whole(tmp_path: Path) -> None:
    spread = np.broadcast_to(np.array([1, 2]), (3, 2))
    write(tmp_path / "s", 1, [Sample({"state": spread}, {})])
    assert read(tmp_path / "s")[1][0].inputs["state"].tolist() == [[1, 2]] * 3


def test_nobody_else_may_read_it_and_nothing_is_written_over(tmp_path: Path) -> None:
    write(tmp_path / "s", 1, [])
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        write(tmp_path / "s", 1, [])


def test_what_is_cut_off_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "whole", 1, [Sample({"x": np.ones(4)}, {"text": TEXTS})])
    whole = (tmp_path / "whole").read_bytes()
    for size in (0, 4, 20, len(whole) - 60, len(whole) - 1):
        (tmp_path / "cut").write_bytes(whole[:size])
        with pytest.raises((ValueError, HeadraceError)):
            read(tmp_path / "cut")
