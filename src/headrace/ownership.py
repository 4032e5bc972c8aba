"""Whether others may have written what lies in a folder: what is loaded from there is run."""

from __future__ import annotations

import os
import stat

FOREIGN = "others may have written it"
"""What is said of it."""


def is_ours(status: os.stat_result) -> bool:
    """Whether it is this user's, and nobody else may write to it."""
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
