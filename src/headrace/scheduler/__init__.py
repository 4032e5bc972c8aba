"""The scheduler: which request runs when, in which batch, and which is refused. Pure.

``queue`` who waits, earliest deadline first · ``latency`` how long a batch will take, by a
``curve`` for every shape, and at most, by the ``tail`` · ``lanes`` what runs, and when a lane is
free, with what ``others`` have there · ``rate`` how fast rows arrive · ``cap`` the largest batch
worth running · ``handover`` what a batch takes beyond its run · ``outlook`` when a newcomer would
be answered by all of these · ``probes`` who is let in where that is but a guess · ``policy`` the
rule: admit, cut, shed, and ``batch`` its values · ``ledger`` what has happened, ``controller`` how
many lanes run by that, and ``notices`` what else is told · ``fairness`` whose batch is next where
models share a device, and ``running`` what runs there · ``known`` what a version's scheduler is
made of · ``simulate`` the same rule against made-up traffic, on a ``machine`` that only pretends to
run, with the ``books`` of what came of it.
"""

from headrace.scheduler.batch import Batch, Policy, Statistics
from headrace.scheduler.latency import LatencyModel
from headrace.scheduler.policy import Scheduler
from headrace.scheduler.queue import Drop, DropReason, Entry

__all__ = [
    "Batch",
    "Drop",
    "DropReason",
    "Entry",
    "LatencyModel",
    "Policy",
    "Scheduler",
    "Statistics",
]
