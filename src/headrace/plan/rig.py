"""A server that is driven: asked before and after each load what it has seen."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from headrace.errors import MalformedAnswer, StartError
from headrace.load.plan import Plan, Target
from headrace.load.result import Result
from headrace.load.run import run
from headrace.models.ask import ServerModels
from headrace.plan.others import cores_in_use
from headrace.plan.profile import ModelProfile, read_answer
from headrace.plan.seen import Between, Seen


@dataclass(frozen=True, slots=True)
class Rig:
    """A server to be driven: how it is asked what it has seen, and where requests go."""

    server: ServerModels
    url: str
    profile: ModelProfile
    target: Target
    say: Callable[[str], None]

    def seen(self) -> Seen:
        """Ask what has run so far.

        Raises:
            MalformedAnswer: an older server does not tell.
        """
        profile = read_answer(
            self.server.profile(self.profile.name, self.profile.version), self.url
        )
        if profile.seen is None:
            raise MalformedAnswer(f"{self.url} does not tell what has run: it is an older Headrace")
        return profile.seen.model_copy(update={"lanes": profile.control.kept_lanes})

    def others(self) -> tuple[float, ...]:
        """The cores that are used while nothing of ours is sent; () where that is not known."""
        if not on_this_machine(self.url):
            return ()
        self.say("looking whether others use this machine")
        used = cores_in_use()
        return () if used is None else (used,)

    def drive(self, plan: Plan) -> tuple[Result, Between, Seen]:
        """Run a load; what came of it, what the server saw meanwhile, and how it was at the end.

        Raises:
            StartError: the server went away, or the sender could not run.
        """
        before = self.seen()
        result = run(plan, self.target)
        after = self.seen()
        try:
            return result, Between.of(before, after), after
        except ValueError as error:
            raise StartError(str(error)) from error


def on_this_machine(url: str) -> bool:
    """Whether a server is where we are, by its address."""
    host = urlsplit(url if "://" in url else f"http://{url}").hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
