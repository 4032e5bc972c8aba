"""What can go wrong while a model is fetched, and what to do about it.

::

    ZooError
    ├── UnknownModel      no model of that name
    ├── DownloadFailed    the package index cannot be reached, or pip cannot run
    ├── PackageGone       the index does not have that release
    ├── HashMismatch      what came is not what was pinned; it has been deleted
    ├── UnsafeFile        a weights file that asks for more than tensors
    └── LibraryMissing    writing this model needs a library that is not installed
"""

from __future__ import annotations


class ZooError(Exception):
    """The root; the message names the fix."""


class UnknownModel(ZooError):
    """No model of that name."""


class DownloadFailed(ZooError):
    """The package index cannot be reached, or pip cannot run."""


class PackageGone(ZooError):
    """The index does not have that release."""


class HashMismatch(ZooError):
    """What came is not what was pinned; it has been deleted."""


class UnsafeFile(ZooError):
    """A weights file that asks for more than tensors, or is none."""


class LibraryMissing(ZooError):
    """Writing this model needs a library that is not installed."""
