"""The tuned card: what ``headrace tune`` found out about a model on one machine, kept beside it.

``card`` its values, read, written and where it lies · ``digest`` the model it holds for · ``use``
what of it a server takes, beside what was set: pure. The machine it holds for is in ``fingerprint``
beside this package: engines need that one, and nothing of this.
"""

from headrace.fingerprint import Fingerprint, differs, fingerprint
from headrace.tuned.card import (
    FILE_NAME,
    SCHEMA_VERSION,
    Accuracy,
    Evidence,
    Objective,
    Tuned,
    TunedSettings,
    is_tuned_card,
    place,
    read,
    write,
)
from headrace.tuned.digest import digest, edition
from headrace.tuned.use import take, telling, unfit

__all__ = [
    "FILE_NAME",
    "SCHEMA_VERSION",
    "Accuracy",
    "Evidence",
    "Fingerprint",
    "Objective",
    "Tuned",
    "TunedSettings",
    "differs",
    "digest",
    "edition",
    "fingerprint",
    "is_tuned_card",
    "place",
    "read",
    "take",
    "telling",
    "unfit",
    "write",
]
