"""A version serves when all receivers serve it, and an engine is used while one uses it."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.control import ModelServing
from headrace.loader.heard import Heard
from headrace.loader.post import Post
from headrace.settings import ModelSettings
from headrace.values import Signature
from tests.profiles import plain
from tests.unit.loader.fleets import version_of

KEY = ("m", 1)


@pytest.fixture
def post(tmp_path: Path) -> Post:
    """One that has an engine."""
    post = Post(version_of(tmp_path), None, ())  # type: ignore[arg-type] # nothing is started
    post.serving = ModelServing(
        name="m",
        version=1,
        socket_path="s",
        settings=ModelSettings(),
        profile=plain(Signature((), (), batched=False)),
    )
    return post


def test_it_serves_when_all_have_said_so(post: Post) -> None:
    heard = Heard()
    assert not heard.serves(post)
    heard.joined("one")
    heard.joined("other")
    heard.confirm(KEY, "s", "one")
    assert not heard.serves(post)
    heard.confirm(KEY, "s", "other")
    assert heard.serves(post)
    heard.joined("third")
    assert not heard.serves(post)
    heard.left("third")
    assert heard.serves(post)


def test_it_is_used_until_each_that_served_with_it_has_nothing_left_or_has_gone(post: Post) -> None:
    heard = Heard()
    for who in ("one", "other", "third"):
        heard.joined(who)
    heard.confirm(KEY, "s", "one")
    heard.confirm(KEY, "s", "other")
    heard.expect(post)
    assert heard.uses(post)
    heard.emptied("s", "one")
    assert heard.uses(post)
    heard.left("other")
    assert not heard.uses(post)


def test_nobody_is_waited_for_who_was_given_up(post: Post) -> None:
    heard = Heard()
    heard.confirm(KEY, "s", "one")
    heard.expect(post)
    heard.give_up("s")
    assert not heard.uses(post)
