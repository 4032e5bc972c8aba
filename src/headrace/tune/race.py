"""The race: real servers under real load, fewer and longer in each rung, and who wins."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from statistics import fmean

from headrace.errors import HeadraceError
from headrace.load.search import Held, Search
from headrace.tune.contestant import OVER, Ceiling, Contestant, Entry, given_rps
from headrace.tune.forecast import Forecast
from headrace.tune.halving import Costs, Ranking, Rung, plan, rank, survivors, turns
from headrace.tune.journal import Journal
from headrace.tune.progress import Progress
from headrace.tune.raced import Highest, Raced
from headrace.tune.receivers import Shared
from headrace.tune.space import Candidate, LeftOut, count
from headrace.tune.wanted import Wanted

# What a sender takes to start and end.
_BESIDES_S = 0.6
# Of the search for the highest rate: near enough, and not for long.
_RESOLUTION, _MOST_TRIES = 0.05, 6
# A try has requests for a p99, and is neither too short nor too long.
_REQUESTS, _SHORTEST_S, _LONGEST_S = 500, 1.5, 6.0
# Below what it does in time when it is given too much: where p99 is still inside the objective.
_BEGIN = 0.9
# With several receivers and with one, each so often.
_PAIRS = 3


class Race:
    """Who is in it, and what was seen so far."""

    def __init__(
        self,
        entrants: Sequence[Forecast],
        baseline: Forecast,
        entry: Entry,
        wanted: Wanted,
        receivers: Mapping[Candidate, int],
    ) -> None:
        self._receivers = receivers
        self._entrants = entrants
        self._baseline = baseline.candidate
        self._hoped = {one.candidate: one.rate_rps for one in (*entrants, baseline)}
        self._entry = entry
        self._wanted = wanted
        self._ceiling = Ceiling(min(entry.most_rps, OVER * wanted.worth(math.inf)))
        self._contestants: dict[Candidate, Contestant] = {}
        self._seen: dict[Candidate, tuple[float, ...]] = {}
        self._memory: dict[Candidate, int] = {}
        self._failed: list[LeftOut] = []
        self._gone: set[Candidate] = set()

    def run(self, journal: Journal, progress: Progress) -> Raced:
        """Run it."""
        who = tuple(one.candidate for one in self._entrants)
        ranking, done, highest = None, list[Rung](), dict[Candidate, Highest]()
        shared = None
        with ExitStack() as stack:
            for one in (*who, self._baseline):
                contestant = Contestant(one, self._entry, journal, self._hoped[one], self._ceiling)
                self._contestants[one] = contestant
                stack.callback(contestant.close)
            rungs = self._plan(journal, progress)
            for rung in rungs:
                who = self._next(who, rung.keep)
                if not self._climb(rung, who, progress):
                    break
                done.append(rung)
            if self._seen:
                last = {one: self._worth(one) for one in who if one in self._seen}
                hoped = {one: self._wanted.worth(rate) for one, rate in self._hoped.items()}
                ranking = rank(last, self._preferred, hoped) if last else None
            if ranking is not None:
                # First, for the search of the highest rates takes all the time that is left.
                length_s = rungs[-1].slice_s
                shared = self._share(ranking.winner, length_s, journal, progress)
                highest = self._highest(ranking, progress)
        return Raced(
            dict(self._seen),
            self._memory,
            highest,
            ranking,
            tuple(self._failed),
            frozenset(one for one, c in self._contestants.items() if c.capped),
            self._ceiling.rate_rps,
            tuple(done),
            cut_short=len(done) < len(rungs),
            shared=shared,
        )

    @property
    def _preferred(self) -> Candidate | None:
        """What is taken of what is alike: nothing new, but for a rate the cheapest."""
        return self._baseline if self._wanted.rate_rps is None else None

    def _plan(self, journal: Journal, progress: Progress) -> tuple[Rung, ...]:
        """What there is time for, when the others take as long to start as the untuned one."""
        key = ("rungs", self._wanted.rate_rps, self._wanted.budget_s, len(self._entrants))
        known = journal.get(*key)
        if known is not None:
            return tuple(Rung(*one) for one in known)
        progress.step("starting a server with the untuned settings")
        before_s = progress.left_s()
        with suppress(HeadraceError):  # it will not be driven either, and that says why
            self._contestants[self._baseline].start()
        slowest_rps = min(given_rps(min(self._hoped.values())), self._ceiling.rate_rps)
        costs = Costs(before_s - progress.left_s(), _BESIDES_S, slowest_rps)
        rungs = plan(len(self._entrants), progress.race_s(), costs)
        journal.put([list(rung) for rung in rungs], *key)
        return rungs

    def _worth(self, one: Candidate) -> tuple[float, ...]:
        return tuple(self._wanted.worth(rate_rps) for rate_rps in self._seen[one])

    def _next(self, before: Sequence[Candidate], keep: int) -> tuple[Candidate, ...]:
        """Who is in the next rung; the servers of the others end."""
        if not self._seen:
            worth = {one: self._wanted.worth(self._hoped[one]) for one in before}
        else:
            worth = {one: fmean(self._worth(one)) for one in before if one in self._seen}
        left = survivors(worth, keep, self._baseline)
        going = tuple(one for one in left if one not in self._gone)
        for one in set(self._contestants) - set(going):
            self._contestants[one].close()
        return going

    def _climb(self, rung: Rung, who: Sequence[Candidate], progress: Progress) -> bool:
        """Drive all of them in turns; False when the time is over before the end."""
        seen: dict[Candidate, list[float]] = {one: [] for one in who}
        for place, one in enumerate(turns(who, rung.blocks)):
            if one not in seen:
                continue  # it has failed
            driven = {other: tuple(slices) for other, slices in seen.items() if slices}
            # Late or not, two must have been driven: without that there is no answer at all.
            if not progress.may_race() and (self._seen or len(driven) >= min(len(seen), 2)):
                self._seen = self._seen or driven
                return False
            number = len(seen[one])
            progress.step(
                f"racing {len(who)}: {one} (slice {place + 1} of {rung.slices * len(who)})"
            )
            try:
                seen[one].append(
                    self._contestants[one].slice(rung.slice_s, rung.keep, rung.slice_s, number)
                )
                self._remember(one)
            except HeadraceError as error:
                self._failed.append(LeftOut(str(one), error.message))
                self._seen.pop(one, None)
                self._gone.add(one)
                del seen[one]
        self._seen |= {one: tuple(slices) for one, slices in seen.items()}
        best = max(seen, key=lambda one: fmean(seen[one]), default=None)
        if best is not None:
            progress.tell(f"best of {len(who)}: {best}, {fmean(seen[best]):,.4g} answers/s in time")
        return True

    def _remember(self, one: Candidate) -> None:
        memory_bytes = self._contestants[one].memory_bytes()
        if memory_bytes:
            self._memory[one] = memory_bytes

    def _highest(self, ranking: Ranking, progress: Progress) -> dict[Candidate, Highest]:
        """Find the highest rates inside the objective of the winner and of the untuned one."""
        found = {}
        for one in dict.fromkeys((ranking.winner, self._baseline)):
            if one not in self._seen:
                continue
            try:
                highest = self._search(self._contestants[one], progress)
            except HeadraceError as error:
                self._failed.append(LeftOut(str(one), error.message))
                continue
            if highest is not None:
                found[one] = highest
        return found

    def _search(self, contestant: Contestant, progress: Progress) -> Highest | None:
        """Search for one; None: there was no time for a single try."""
        first = max(_BEGIN * fmean(self._seen[contestant.candidate]), 0.2)
        highest = max(self._ceiling.rate_rps, first)
        search = Search(
            first,
            resolution=_RESOLUTION,
            confirmations=1,
            highest=highest,
            most_tries=_MOST_TRIES,
        )
        p99_s: dict[float, float | None] = {}
        while (rate_rps := search.next_rate) is not None:
            length_s = min(max(_REQUESTS / rate_rps, _SHORTEST_S), _LONGEST_S)
            if progress.left_s() < length_s + _BESIDES_S:
                break
            progress.step(f"the highest rate of {contestant.candidate}: {rate_rps:,.4g}/s")
            # With its rate: after another race, the journal's tries may be of other rates.
            number = (len(search.tries), f"{rate_rps:.4g}")
            tried = contestant.drive(rate_rps, length_s, "highest", *number)
            missed = 1 - self._wanted.objective.quantile
            held = tried.share >= 1 - missed
            lost = Held.CLEARLY_NOT if tried.share < 1 - 5 * missed else Held.NO
            p99_s[rate_rps] = tried.p99_s
            search = search.after(rate_rps, Held.YES if held else lost)
        if not search.tries:
            return None
        best = search.best
        return Highest(best, None if best is None else p99_s[best])

    def _share(
        self, winner: Candidate, slice_s: float, journal: Journal, progress: Progress
    ) -> Shared | None:
        """Race the winner with several receivers beside itself, where one is what limits.

        None: it is not, or the senders are, or there is no time left, or they did not serve.
        """
        number, alone = self._receivers.get(winner, 1), self._contestants[winner]
        takes_s = (2 * _PAIRS + 1) * (slice_s + _BESIDES_S)
        if number == 1 or alone.capped or progress.left_s() < takes_s:
            return None
        hoped_rps = number * fmean(self._seen[winner])
        shared = Contestant(
            winner, self._entry, journal, hoped_rps, self._ceiling, receivers=number
        )
        seen: dict[int, list[float]] = {1: [], number: []}
        with closing(shared):
            try:
                progress.step(f"starting {winner} with {count(number, 'receiver')}")
                shared.slice(slice_s, "receivers", number, "first")  # the other is warm
                for turn in range(_PAIRS):
                    for receivers, contestant in ((1, alone), (number, shared)):
                        progress.step(f"racing {winner} with {count(receivers, 'receiver')}")
                        key = ("receivers", receivers, turn)
                        seen[receivers].append(contestant.slice(slice_s, *key))
            except HeadraceError as error:
                self._failed.append(LeftOut(count(number, "receiver"), error.message))
                return None
        return Shared(number, tuple(seen[1]), tuple(seen[number]))
