"""Finds what an order names, wherever it lies: what is not on this machine is fetched first."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from headrace.documents import expand
from headrace.errors import HeadraceError, InvalidInput, ModelLoadError, NotAllowed
from headrace.loader.aside import aside
from headrace.loader.remote.remotes import Remotes
from headrace.loader.store import FoundVersion, find_named, lies_in
from headrace.order import Load, VersionPolicy, WantedModel
from headrace.urls import FILE, Url, is_url


class Sought:
    """Looks where the settings say, or where an order says and the settings allow."""

    def __init__(self, remotes: Remotes) -> None:
        self._remotes = remotes

    async def named(self, order: Load) -> tuple[FoundVersion, ...]:
        """The versions of a model to serve, as it is now where the settings look for models.

        Raises:
            HeadraceError: it is not there, or cannot be had.
        """
        if order.folder is None and self._remotes.mirrors:
            await self._fetch(order.name, order.policy)
        find = partial(
            find_named,
            self._remotes.settings,
            order.name,
            folder=None if order.folder is None else Path(order.folder),
            overrides=order.overrides,
            policy=order.policy,
        )
        return self._followed(await aside(find))

    async def _fetch(self, name: str, policy: VersionPolicy | None) -> None:
        """Bring a model here as it is now, unless it lies here.

        Raises:
            ModelLoadError: a place where it may be cannot be had, and it is in no other.
        """
        if await aside(partial(lies_in, self._remotes.here, name)):
            return
        calls = {}
        for number, mirror in self._remotes.mirrors.items():
            called = self._remotes.settings.models[number].name
            if called in {None, name}:
                only = name if called is None else None
                calls[number] = aside(partial(mirror.sync, only=only, policy=policy))
        ended = await asyncio.gather(*calls.values(), return_exceptions=True)
        troubles = {n: e for n, e in zip(calls, ended, strict=True) if e is not None}
        for error in troubles.values():
            if not isinstance(error, HeadraceError | OSError):
                raise error
        others = self._remotes.without(troubles)
        if troubles and not await aside(partial(lies_in, others, name)):
            raise ModelLoadError("; ".join(map(str, troubles.values())))

    async def at(self, model: WantedModel) -> tuple[FoundVersion, ...]:
        """The versions of a model to serve that lies where an order says.

        Raises:
            HeadraceError: it is not there, cannot be had, or may not be loaded from there.
        """
        text = model.path.removeprefix(FILE)
        if is_url(text):
            mirror = self._remotes.ordered(model.name, self._allowed_url(text), model.policy)
            await aside(mirror.sync)
            path = mirror.path
        else:
            path = await aside(partial(self._allowed_path, text))
        find = partial(
            find_named, self._remotes.settings, model.name, folder=path, policy=model.policy
        )
        return self._followed(await aside(find))

    def _followed(self, found: tuple[FoundVersion, ...]) -> tuple[FoundVersion, ...]:
        return tuple(self._remotes.followed(one) for one in found)

    def _allowed_path(self, text: str) -> Path:
        """Let models come from where the operator said models are, and from nowhere else.

        Raises:
            NotAllowed: the path, its links followed, leads elsewhere.
            InvalidInput: it can be no path.
        """
        roots = [root for root in self._remotes.roots if not isinstance(root, Url)]
        try:
            path = expand(text)
            real = path.resolve()
        except (ValueError, RuntimeError) as error:  # a zero byte, a ring of links
            raise InvalidInput(f"{text!r} is no path: {error}") from error
        if not any(real.is_relative_to(expand(root).resolve()) for root in roots):
            raise _not_allowed(str(path))
        return path

    def _allowed_url(self, text: str) -> Url:
        try:
            url = Url.parse(text)
        except ValueError as error:
            raise InvalidInput(f"{text!r} {error}") from error
        roots = [root for root in self._remotes.roots if isinstance(root, Url)]
        if not any(url.is_within(root) for root in roots):
            raise _not_allowed(url)
        return url


def _not_allowed(place: str) -> NotAllowed:
    return NotAllowed(
        f"{place} is in none of the folders that models may be loaded from: add its folder "
        "to server.model_roots"
    )
