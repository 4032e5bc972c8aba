"""Watches where models lie (``model_control: poll``) and has the fleet follow.

What is decided is ``settled``'s; here are the looking and the doing. One model's load does not hold
up another's. Where nothing can be read nothing is unloaded: a share that is not mounted is not a
repository without models.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

from headrace.cores import usable_cores
from headrace.documents import expand
from headrace.errors import HeadraceError, NoRoom, OperatorError
from headrace.loader.aside import aside
from headrace.loader.fleet import Fleet
from headrace.loader.places import Complaint, Place, locate
from headrace.loader.post import Key
from headrace.loader.remote.remotes import Remotes, nothing_remote
from headrace.loader.settled import Look, Settled, Step
from headrace.loader.stamps import stamp
from headrace.loader.store import FoundVersion, astray, check_any, choose, policy_of, settle, twins
from headrace.order import VersionPolicy
from headrace.settings import ModelSettings, Settings

Content = tuple[FoundVersion, Any]

# After so many times `poll_s` a look is so late that an operator should know: no change is seen.
_LONG_LOOK_POLLS = 10


@dataclass(slots=True)
class _Model:
    """What one look found of one model."""

    entry: int
    policy: VersionPolicy
    there: dict[int, Content] = field(default_factory=dict)
    unsure: set[int] = field(default_factory=set)
    unsure_of_all: bool = False

    def may_have(self, version: int) -> bool:
        """Whether it is there, or could not be seen."""
        return self.unsure_of_all or version in self.there or version in self.unsure

    def wanted(self) -> list[FoundVersion]:
        """What of it the policy wants, ascending."""
        return [self.there[version][0] for version in sorted(self.policy.choose(self.there))]


@dataclass(slots=True)
class Survey:
    """What one look found: the models, the entries that could not be read, and the troubles."""

    models: dict[str, _Model] = field(default_factory=dict)
    unread: set[int] = field(default_factory=set)
    troubles: set[str] = field(default_factory=set)
    left_out: set[tuple[str, str]] = field(default_factory=set)  # each model, and why


class Surveyor:
    """Looks where models lie; runs in a thread, one look at a time."""

    def __init__(self, settings: Settings, remotes: Remotes | None = None) -> None:
        self._remotes = remotes or nothing_remote(settings)
        self._settings = self._remotes.settings
        self._cores = usable_cores()
        self._roots: dict[int, tuple[int, int]] = {}  # which folder each entry was, when it had any

    def begin(self) -> tuple[FoundVersion, ...]:
        """Find what to serve first; what is not to be had then may come later.

        Nothing is told: the first look of a watch, which follows, tells it.

        Raises:
            SettingsError: the settings name no model at all.
        """
        check_any(self._settings)
        models = self.look().models.values()
        return tuple(found for model in models for found in model.wanted())

    def look(self) -> Survey:
        """Find what is there now; what cannot be read is told, never raised."""
        survey = Survey()
        for number, entry in enumerate(self._settings.models):
            mirror = self._remotes.mirrors.get(number)
            if mirror is not None and not mirror.looked:
                survey.unread.add(number)
                continue
            try:
                with self._remotes.steady(number):
                    self._look_at(survey, number, entry)
            except OperatorError as error:
                survey.unread.add(number)
                survey.troubles.add(error.message)
        self._miss(survey)
        survey.troubles = {self._remotes.told(trouble) for trouble in survey.troubles}
        return survey

    def _look_at(self, survey: Survey, number: int, entry: ModelSettings) -> None:
        """Find what is there of one entry.

        Raises:
            OperatorError: it cannot be read.
        """
        places = locate(entry, lambda told: self._hear(survey, number, told))
        if not places and not self._is_known(number, entry):
            survey.unread.add(number)
            if all(model.entry != number for model in survey.models.values()):
                survey.troubles.add(f"{entry.path}: nothing to serve here now")
            return
        self._remember(number, entry)
        wanted = choose(places, policy_of(entry, self._settings.defaults))
        twice = dict(twins(wanted))
        for name, error in twice.items():  # whichever of them serves goes on
            self._hear(survey, number, Complaint(name, None, error))
        # What lies elsewhere under the name of what is wanted is another model, and not wanted.
        folders = {place.name: place.folder for place in wanted}
        for place in places:
            if place.name not in twice and place.folder == folders.get(place.name, place.folder):
                self._take(survey, number, entry, place)

    def _miss(self, survey: Survey) -> None:
        """Tell what the settings name and is not there."""
        for name, model in survey.models.items():
            wanted = model.wanted()
            known = model.there.keys() | model.unsure
            missing = set(model.policy.specific or ()) - known
            if model.unsure_of_all or not known:
                continue
            survey.troubles |= {
                f"model {name!r} has no version {version}, which `versions` names"
                for version in sorted(missing)
            }
            if not model.unsure:
                survey.troubles |= {error.message for _, error in astray(wanted)}
        default = self._settings.server.default_model
        if default is not None and default not in survey.models and not survey.unread:
            survey.troubles.add(f"server.default_model: there is no model {default!r}")

    def _hear(self, survey: Survey, number: int, told: Complaint) -> None:
        if told.left_out:
            survey.left_out.add((told.name, self._remotes.told(told.error.message)))
        else:
            survey.troubles.add(told.error.message)
        if told.is_empty:  # what there was of it has been removed
            return
        model = self._model(survey, number, told.name)
        if model.entry != number:  # it says nothing of the model that another entry has
            return
        if told.version is None:
            model.unsure_of_all = True
        else:
            model.unsure.add(told.version)

    def _take(self, survey: Survey, number: int, entry: ModelSettings, place: Place) -> None:
        model = self._model(survey, number, place.name)
        if model.entry != number:
            survey.troubles.add(
                f"two models are called {place.name!r}: {place.path} is the second; "
                "give one of them another `name`"
            )
            return
        try:
            settled = settle(place, entry, self._settings, self._cores)
            found = self._remotes.followed(settled)
            model.there[place.version] = found, stamp(found)
        except Exception as error:  # noqa: BLE001 - a card is anybody's; the others are looked at
            expected = isinstance(error, OperatorError | OSError)
            survey.troubles.add(str(error) if expected else f"{place.path}: {error!r}")
            model.unsure.add(place.version)

    def _model(self, survey: Survey, number: int, name: str) -> _Model:
        policy = policy_of(self._settings.models[number], self._settings.defaults)
        return survey.models.setdefault(name, _Model(number, policy))

    def _remember(self, number: int, entry: ModelSettings) -> None:
        root = _identity(entry)
        if root is not None:
            self._roots[number] = root

    def _is_known(self, number: int, entry: ModelSettings) -> bool:
        """Whether it is the folder that had models, so that somebody has removed them.

        Another folder in its place is what is seen when a file system is not mounted.
        """
        root = _identity(entry)
        return root is not None and self._roots.get(number) == root


def _identity(entry: ModelSettings) -> tuple[int, int] | None:
    try:
        status = expand(entry.path or "").stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


class Watch:
    """Has a fleet serve what lies in the folders, as it changes; for one event loop."""

    def __init__(
        self,
        settings: Settings,
        fleet: Fleet,
        remotes: Remotes | None = None,
        on_complete: Callable[[], None] = lambda: None,
    ) -> None:
        self._poll_s = settings.server.poll_s
        self._fleet = fleet
        self._remotes = remotes or nothing_remote(settings)
        self._on_complete = on_complete
        self._surveyor = Surveyor(settings, self._remotes)
        self._settled: dict[str, Settled] = {}
        self._entries: dict[str, int] = {}  # where each model was last seen
        self._busy: set[str] = set()
        self._no_room: dict[Key, Content] = {}  # what waits for some, and has been told of
        self._told: set[str] = set()
        self._told_left_out: set[tuple[str, str]] = set()
        self._log = structlog.get_logger("headrace.loader")

    async def run(self) -> None:
        """Look and follow, until cancelled."""
        for (name, version), post in self._fleet.posts().items():
            self._of(name).tried(version, (post.found, post.stamp))
        async with asyncio.TaskGroup() as group:
            while True:
                was_awaited = self._remotes.is_awaited()
                survey = await self._look()
                if survey is not None:
                    self._tell(survey)
                    for name, step in self._steps(survey):
                        self._busy.add(name)
                        group.create_task(self._follow(name, step, survey.models.get(name)))
                    if not (was_awaited or self._busy or self._is_idle(survey)):
                        self._on_complete()
                await asyncio.sleep(self._poll_s)

    def _is_idle(self, survey: Survey) -> bool:
        """Whether nothing serves because places could not be read, so that there may be more."""
        return bool(survey.unread & self._remotes.mirrors.keys()) and not self._fleet.states

    async def _look(self) -> Survey | None:
        """Look; None: it ended in an error that nobody has foreseen.

        What serves is worth more than seeing a change, so that none of these ends the server.
        """
        long_s = _LONG_LOOK_POLLS * self._poll_s
        looking = aside(self._surveyor.look)
        if not (await asyncio.wait({looking}, timeout=long_s))[0]:
            self._log.warning("look_takes_long", seconds=long_s)
        try:
            return await looking
        except Exception as error:  # noqa: BLE001 - whatever it was, it is told
            self._log.exception("look_failed", reason=repr(error))
            return None

    def _steps(self, survey: Survey) -> list[tuple[str, Step]]:
        """What to do, of the models that nothing is being done with."""
        now_s = time.monotonic()
        for name, model in survey.models.items():
            self._entries[name] = model.entry
        self._forget(survey)
        steps = []
        for name in dict.fromkeys([*self._fleet.names(), *survey.models]):
            if name in self._busy or self._entries.get(name) in survey.unread:
                continue
            step = self._of(name).step(now_s, self._view(name, survey.models.get(name)))
            if step != Step():
                steps.append((name, step))
        for name in self._settled.keys() - survey.models.keys() - set(self._fleet.names()):
            del self._settled[name]
        return steps

    def _forget(self, survey: Survey) -> None:
        """Forget the versions that have ended and whose files are gone: they may be any number."""
        for name, version in self._fleet.ended():
            number, model = self._entries.get(name), survey.models.get(name)
            if number is None or number in survey.unread or name in self._busy:
                continue
            if model is None or not model.may_have(version):
                self._of(name).forget(version)
                self._no_room.pop((name, version), None)
                self._fleet.forget((name, version))

    def _view(self, name: str, model: _Model | None) -> Look:
        posts = self._fleet.versions(name)
        serving = {version: (post.found, post.stamp) for version, post in posts.items()}
        if model is None:
            # A model that no look has seen came from elsewhere, and stays.
            return Look({}, serving, unsure_of_all=name not in self._entries)
        return Look(
            model.there,
            serving,
            frozenset(model.unsure),
            unsure_of_all=model.unsure_of_all,
            choose=model.policy.choose,
        )

    async def _follow(self, name: str, step: Step, model: _Model | None) -> None:
        try:
            for version in step.load:
                if model is not None:
                    await self._load(model.there[version])
            for version in step.unload:
                self._log.info("model_leaves", model=name, version=version)
                await self._fleet.unload((name, version))
        except Exception as error:  # noqa: BLE001 - one model's trouble does not end the server
            self._log.exception("follow_failed", model=name, reason=repr(error))
        finally:
            self._busy.discard(name)

    async def _load(self, content: Content) -> None:
        found = content[0]
        key = found.name, found.version
        is_told = self._no_room.pop(key, None) == content
        if not is_told:
            self._log.info("model_changed", model=found.name, version=found.version)
        self._of(found.name).tried(found.version, content)
        try:
            await self._fleet.take(found)
        except (HeadraceError, OSError) as error:
            has_no_room = isinstance(error, NoRoom)
            if has_no_room:  # there may be some at the next look
                self._of(found.name).again(found.version)
                self._no_room[key] = content
            if not (is_told and has_no_room):
                reason = str(error)
                self._log.error(
                    "change_not_taken", model=found.name, version=found.version, reason=reason
                )
            return
        self._fleet.label_new(found)

    def _tell(self, survey: Survey) -> None:
        """Log each trouble once, as long as it lasts."""
        for trouble in sorted(survey.troubles - self._told):
            self._log.warning("models_unreadable", reason=trouble)
        for name, reason in sorted(survey.left_out - self._told_left_out):
            self._log.warning("model_left_out", model=name, reason=reason)
        for model in survey.models.values():
            for found in model.wanted():
                self._fleet.remark(found)
        self._told, self._told_left_out = survey.troubles, survey.left_out

    def _of(self, name: str) -> Settled:
        # What comes from elsewhere is shown when it is settled, and whole.
        is_remote = self._entries.get(name) in self._remotes.mirrors
        return self._settled.setdefault(name, Settled(0.0 if is_remote else 2 * self._poll_s))
