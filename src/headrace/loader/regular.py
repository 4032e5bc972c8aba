"""Only regular files are read: a pipe in a repository would be waited for without end."""

from __future__ import annotations

import errno
import stat
from pathlib import Path


def check_regular(path: Path) -> None:
    """Check that a file is one that can be read to its end.

    Folders pass: opening one says what is wrong.

    Raises:
        OSError: it is a pipe, a socket or a device, or cannot be looked at.
    """
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
