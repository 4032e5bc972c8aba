"""What a ``.pt`` is, told by the names of the files in its archive: nothing is unpickled."""

from __future__ import annotations

import zipfile
from pathlib import Path

NO_SCRIPT = (
    "it is no TorchScript. Weights or a module of torch.save say nothing without the Python code "
    "that made them, and are not unpickled: load them where that code is, and write the model with "
    "torch.export.save(torch.export.export(model.eval(), example), 'model.pt2')"
)
_ZIP = b"PK\3\4"
_OF_SCRIPT = "/constants.pkl"


def is_script(path: Path) -> bool:
    """Whether it is an archive of ``torch.jit.save``, not of ``torch.save`` or none at all.

    Raises:
        OSError: it cannot be read.
        ValueError: it is cut off or damaged.
    """
    with path.open("rb") as file:
        if file.read(len(_ZIP)) != _ZIP:
            return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(_OF_SCRIPT) for name in archive.namelist())
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise ValueError(str(error)) from error
