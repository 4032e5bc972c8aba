"""TensorFlow's types by their numbers and names, and the typed field of each.

Source: tensorflow/core/framework/types.proto and tensor.proto.
"""

from __future__ import annotations

from typing import NamedTuple

from headrace.values import DType


class Type(NamedTuple):
    """One of TensorFlow's types."""

    number: int
    name: str
    dtype: DType
    field: str


TYPES = tuple(
    Type(int(number), f"DT_{name}", DType(dtype), f"{field}_val")
    for number, name, dtype, field in (
        row.split()
        for row in (
            "1 FLOAT FP32 float",
            "2 DOUBLE FP64 double",
            "3 INT32 INT32 int",
            "4 UINT8 UINT8 int",
            "5 INT16 INT16 int",
            "6 INT8 INT8 int",
            "7 STRING BYTES string",
            "9 INT64 INT64 int64",
            "10 BOOL BOOL bool",
            "14 BFLOAT16 BF16 half",
            "17 UINT16 UINT16 int",
            "19 HALF FP16 half",
            "22 UINT32 UINT32 uint32",
            "23 UINT64 UINT64 uint64",
        )
    )
)
OF_DTYPE = {one.dtype: one for one in TYPES}
OF_NUMBER = {one.number: one for one in TYPES}
OF_NAME = {one.name: one for one in TYPES}
