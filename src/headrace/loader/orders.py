"""What clients order over the wire: load, unload and reload models.

An order is carried out whole or says why not: what it asks for is found and checked before anything
changes, new engines serve before old ones go, and what cannot be loaded leaves what serves alone:
versions that came with it go, of every model, and no label moves. A version that was there, and has
been replaced by other files of its number by then, stays so.
Orders for one model wait for each other; others do not.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import structlog

from headrace.control import Done
from headrace.errors import (
    HeadraceError,
    InternalError,
    InvalidInput,
    ModelDiffers,
    ModelLoadError,
    ModelNotFound,
    ModelTooLarge,
    NoRoom,
    NotAllowed,
)
from headrace.loader.aside import aside
from headrace.loader.fleet import Fleet
from headrace.loader.heard import ONLY
from headrace.loader.post import Key, Post
from headrace.loader.remote.remotes import Remotes, nothing_remote
from headrace.loader.remote.sought import Sought
from headrace.loader.remote.tidying import tidy
from headrace.loader.stamps import stamp
from headrace.loader.store import FoundVersion
from headrace.loader.uploads import Uploads
from headrace.observe.logs import cut
from headrace.order import NOT_ALLOWED, Demand, Label, Load, Order, Reload, Unload, WantedModel
from headrace.server_settings import ModelControl
from headrace.settings import Settings

_Wanted = Mapping[str, Sequence[FoundVersion]]

_NOT_TAKEN = (ModelLoadError, ModelDiffers, ModelTooLarge, NoRoom)


class Orders:
    """Carries out orders on a fleet; for the supervisor's event loop."""

    def __init__(self, settings: Settings, fleet: Fleet, remotes: Remotes | None = None) -> None:
        self._settings = settings
        self._remotes = remotes or nothing_remote(settings)
        self._sought = Sought(self._remotes)
        self._fleet = fleet
        self._uploads = Uploads(fleet)
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._wanted: Counter[str] = Counter()  # by how many orders
        self._log = structlog.get_logger("headrace")

    async def carry_out(self, order: Order, who: object = ONLY) -> Done:
        """Do what a receiver orders; how it ended is in the answer, never raised."""
        done = await self._carried_out(order, who)
        await self._uploads.tidy(order)
        return done

    async def _carried_out(self, order: Order, who: object) -> Done:
        try:
            await self._obey(order, who)
        except HeadraceError as error:
            return self._refused(order, error.code, self._remotes.told(error.message))
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""  # else of the system itself
            text = f"{where}{error.strerror or error}"
            return self._refused(order, ModelLoadError.code, text)
        except Exception as error:  # noqa: BLE001 - no order of a client's ends the server
            self._log.exception("order_failed", order=order.kind, reason=cut(repr(error)))
            text = f"a bug of the server: {type(error).__name__}: {error}"
            return Done(order=order.order, code=InternalError.code, message=text)
        await tidy(self._remotes, self._fleet)
        return Done(order=order.order)

    def _refused(self, order: Order, code: str, message: str) -> Done:
        self._log.warning("order_refused", order=order.kind, reason=cut(message))
        return Done(order=order.order, code=code, message=message)

    async def _obey(self, order: Order, who: object) -> None:
        if isinstance(order, Demand):  # which follows from a request, and that from the settings
            self._log.debug("ordered", order=order.kind, what=_gist(order))
            await self._fleet.bring((order.name, order.version), who)
            return
        if self._settings.server.model_control is not ModelControl.EXPLICIT:
            raise NotAllowed(NOT_ALLOWED)
        self._log.info("ordered", order=order.kind, what=_gist(order))
        match order:
            case Load():
                await self._load(order)
            case Unload():
                await self._unload(order.name)
            case Label():
                await self._label(order)
            case Reload():
                await self._reload(order.models)

    async def _load(self, order: Load) -> None:
        async with self._alone(order.name):
            found = await self._sought.named(order)
            await self._bring({order.name: found}, now=True)
            for one in found:
                self._fleet.label_new(one)
            await self._leave({order.name: found})

    async def _unload(self, name: str) -> None:
        async with self._alone(name):
            versions = self._there([name])
            if not versions:
                raise ModelNotFound(f"model {name!r} is not loaded")
            await self._unload_all(versions)

    async def _label(self, order: Label) -> None:
        async with self._alone(order.name):
            versions = self._fleet.versions(order.name)
            if not versions:
                raise ModelNotFound(f"model {order.name!r} is not loaded")
            moved = {label: to for label, to in order.versions.items() if to is not None}
            _check_labels(order.name, moved, versions)
            before = self._fleet.labels.get(order.name, {})
            kept = {label: to for label, to in before.items() if label not in order.versions}
            self._fleet.label(order.name, kept | moved)

    async def _reload(self, models: Sequence[WantedModel]) -> None:
        """Serve these models and no others; nothing changes when one of them is not to be had."""
        names = [model.name for model in models]
        async with self._alone(*names, *self._fleet.names()):
            _check_names(names)
            wanted = {model.name: await self._sought.at(model) for model in models}
            for model in models:
                there = [one.version for one in wanted[model.name]]
                _check_labels(model.name, model.labels, there)
            await self._bring(wanted, now=False)
            for model in models:  # before what they stood for goes
                self._fleet.label(model.name, model.labels)
            gone = [name for name in self._fleet.names() if name not in wanted]
            self._remotes.forget(gone)
            await self._leave({**dict.fromkeys(gone, ()), **wanted})

    async def _bring(self, wanted: _Wanted, *, now: bool) -> None:
        """Serve these versions, beside those that serve; when one fails, none comes that was not.

        ``now``: those that would be loaded at their first request are loaded too.
        """
        before = self._there(wanted)
        try:
            await _all(self._bring_one(name, found, now=now) for name, found in wanted.items())
        except Exception:
            await self._unload_all((self._there(wanted) - before) & _keys(wanted))
            raise

    async def _bring_one(self, name: str, found: Sequence[FoundVersion], *, now: bool) -> None:
        """Serve these versions of a model; what has not changed is left alone."""
        for one in found:
            self._fleet.remark(one)  # of what has not changed too
        there = self._fleet.versions(name)
        fresh = await aside(partial(_fresh, found, there))
        if now:
            fresh += [one for one in found if one not in fresh and there[one.version].listed]
        load = self._fleet.load if now else self._fleet.take
        steps = [load(one) for one in fresh]
        if now:
            steps += [self._fleet.settle(there[one.version]) for one in found if one not in fresh]
        await _all(steps)

    async def _leave(self, wanted: _Wanted) -> None:
        """Serve no others of these models."""
        await self._unload_all(self._there(wanted) - _keys(wanted))

    async def _unload_all(self, keys: Iterable[Key]) -> None:
        await asyncio.gather(*map(self._fleet.unload, keys))

    def _there(self, names: Iterable[str]) -> set[Key]:
        return {(name, version) for name in names for version in self._fleet.versions(name)}

    @contextlib.asynccontextmanager
    async def _alone(self, *names: str) -> AsyncIterator[None]:
        """Hold these models; always in the same order, so that two orders never wait in a ring."""
        async with contextlib.AsyncExitStack() as stack:
            for name in sorted(set(names)):
                self._wanted[name] += 1
                stack.callback(self._forget, name)
                await stack.enter_async_context(self._locks[name])
            yield

    def _forget(self, name: str) -> None:
        """Keep no lock that nobody wants: names come from clients, who can make up any number."""
        self._wanted[name] -= 1
        if not self._wanted[name]:
            del self._wanted[name]
            self._locks.pop(name, None)


def _gist(order: Order) -> str:
    """What is ordered of which models, for the log: not the values and files that a client sent."""
    match order:
        case Load():
            said: Iterable[str] = order.overrides
        case Label():
            said = (f"{label}={to}" for label, to in order.versions.items())
        case Reload():
            return cut(", ".join(f"{model.name} in {model.path}" for model in order.models))
        case Demand():
            return f"{order.name} version {order.version}"
        case Unload():
            said = ()
    return cut(": ".join(filter(None, (order.name, ", ".join(said)))))


def _keys(wanted: _Wanted) -> set[Key]:
    return {(one.name, one.version) for found in wanted.values() for one in found}


def _fresh(found: Sequence[FoundVersion], there: Mapping[int, Post]) -> list[FoundVersion]:
    """Those that are not there as they are now."""
    return [one for one in found if _changed(one, there.get(one.version))]


def _changed(found: FoundVersion, post: Post | None) -> bool:
    return post is None or post.found != found or post.stamp != stamp(found)


def _check_names(names: Sequence[str]) -> None:
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise InvalidInput(f"model {twice[0]!r} is in the list twice")


def _check_labels(name: str, labels: Mapping[str, int], versions: Iterable[int]) -> None:
    there = sorted(versions)
    for label, version in labels.items():
        if version not in there:
            raise InvalidInput(
                f"label {label!r} of model {name!r} names version {version}, which would not be "
                f"served; versions: {', '.join(map(str, there))}"
            )


async def _all(steps: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run every step to its end, then raise what went wrong, told together."""
    ended = await asyncio.gather(*steps, return_exceptions=True)
    errors = [error for error in ended if isinstance(error, BaseException)]
    for error in errors:
        if not isinstance(error, _NOT_TAKEN):
            raise error
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise ModelLoadError("; ".join(str(error) for error in errors))
