"""Archives under the name of an exported program; none of them is one."""

from __future__ import annotations

import io
import struct
import zipfile

from tests.contract.bad_models.case import Case, holding
from tests.contract.bad_models.wrong import archive


def _packed(content: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as inside:
        inside.writestr("model/data/weights/weight_0", content)
    return made.getvalue()


def _claiming(size: int) -> bytes:
    """An archive whose directory declares a file larger than there is."""
    made = bytearray(archive(**{"model/data/weights/weight_0": bytes(64)}))
    central = made.rindex(b"PK\x01\x02")
    made[central + 20 : central + 28] = struct.pack("<II", size, size)
    return bytes(made)


def _many(count: int) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as inside:
        for number in range(count):
            inside.writestr(f"m/{number}", b"")
    return made.getvalue()


_PROGRAM = archive(
    **{"m/archive_format": b"pt2", "m/archive_version": b"0", "m/byteorder": b"little"}
)

CASES: tuple[Case, ...] = (
    Case("pt2-unfolds", "compressed", holding("model.pt2", _packed(bytes(1 << 24)))),
    Case("pt2-claims-gigabytes", "declares", holding("model.pt2", _claiming(2**31))),
    Case("pt2-halved", "no whole archive", holding("model.pt2", _PROGRAM[: len(_PROGRAM) // 2])),
    Case("pt2-of-nothing", "torch", holding("model.pt2", archive())),
    Case("pt2-without-a-program", "torch", holding("model.pt2", _PROGRAM)),
    Case(
        "pt2-leads-outside",
        "leads outside",
        holding("model.pt2", archive(**{"../../../etc/passwd": b"x"})),
    ),
    Case("pt2-absolute", "leads outside", holding("model.pt2", archive(**{"/etc/passwd": b"x"}))),
    Case(
        "pt2-of-torchscript",
        "torch",
        holding(
            "model.pt2",
            archive(
                **{"m/data.pkl": b"\x80\x02}q\0.", "m/code/__torch__.py": b"", "m/version": b"3"}
            ),
        ),
    ),
    Case(
        "pt2-of-weights",
        "torch",
        holding("model.pt2", archive(**{"m/data.pkl": b"\x80\x02}q\0.", "m/version": b"3"})),
    ),
    Case("pt2-of-very-many-files", "torch", holding("model.pt2", _many(65_000))),
)
