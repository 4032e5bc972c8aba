"""What the flags of ``headrace load`` mean."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest

from headrace.errors import SettingsError
from headrace.load.address import Address, read_address
from headrace.load.command import grammar
from headrace.load.command.wanted import Wanted, read
from headrace.load.payload import APIS
from headrace.load.plan import ClosedLoop, OpenLoop
from headrace.load.synthetic import Shape
from headrace.values import DType


def _options(words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    grammar.add(parser)
    return parser.parse_args(["localhost:8000", "--model", "m", *words.split()])


def _wanted(words: str) -> Wanted:
    return read(_options(words))


def _times(words: str) -> OpenLoop:
    plan = _wanted(words).plan()
    assert isinstance(plan, OpenLoop)
    return plan


def test_every_protocol_of_the_grammar_is_one_that_can_be_spoken() -> None:
    assert set(grammar.PROTOCOLS) == set(APIS)


def test_a_rate_is_an_open_loop_and_a_concurrency_a_closed_one() -> None:
    assert _wanted("--concurrency 3 --duration-s 2").plan() == ClosedLoop(3, 2.0)
    plan = _times("--rate 1000 --duration-s 5")
    assert plan.duration_s == 5
    assert abs(len(plan.arrivals) - 5000) < 400
    assert len(set(np.diff(_times("--rate 10 --arrivals constant").arrivals.times_s).round(9))) == 1
    assert _times("--rate 10").duration_s == 10


@pytest.mark.parametrize(
    "words",
    [
        "single-stream --duration-s 0",
        "offline --duration-s 0",
        "offline --concurrency 0",
        "server --rate 5 --slo-ms 9 --duration-s 0",
    ],
)
def test_nothing_is_not_what_was_not_given_with_a_scenario(words: str) -> None:
    with pytest.raises(SettingsError, match=r"--\S+ 0: should be more than 0"):
        _wanted(f"--scenario {words}")


@pytest.mark.parametrize("flag", ["--model", "--shape"])
def test_bytes_that_are_no_text_are_refused(flag: str) -> None:
    options = _options("--rate 5")
    getattr(options, flag.strip("-")).insert(0, "m\udcff=FP32:1")
    with pytest.raises(SettingsError, match=rf"{flag} 'm\\udcff=FP32:1': should be UTF-8"):
        read(options)
    with pytest.raises(SettingsError, match=r"URL 'm\\udcff': should be UTF-8"):
        read(argparse.Namespace(**{**vars(_options("--rate 5")), "url": "m\udcff"}))


@pytest.mark.parametrize("kind", ["poisson", "constant", "bursts"])
@pytest.mark.parametrize("words", ["--rate 1e12", "--rate 10 --duration-s 1e9"])
def test_more_requests_than_can_be_planned_are_refused(words: str, kind: str) -> None:
    with pytest.raises(SettingsError, match=r"50,000,000 are planned: lower --rate, or"):
        _wanted(f"{words} --arrivals {kind}").plan()


def test_the_seed_changes_the_arrivals() -> None:
    first, again, other = (_times(f"--rate 100 --seed {n}").arrivals.times_s[:9] for n in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_trace_is_replayed_from_its_first_request_stretched_and_cut(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    trace.write_text("100.0,GET\n100.5,GET\n\n101.0,GET\n102.0,GET\n")
    words = f"--arrivals trace:{trace}"
    whole = _times(words)
    assert whole.arrivals.times_s.tolist() == [0.0, 0.5, 1.0, 2.0]
    assert whole.duration_s == pytest.approx(8 / 3)  # the last gap is as long as the others
    assert _times(f"{words} --duration-s 1").arrivals.times_s.tolist() == [0.0, 0.5]
    assert _times(f"{words} --duration-s 9").duration_s == pytest.approx(8 / 3)
    fast = _times(f"{words} --rate 15")
    assert fast.arrivals.rate == pytest.approx(15)
    np.testing.assert_allclose(fast.arrivals.times_s, np.array([0, 0.5, 1, 2]) / 10)


def test_a_trace_of_one_request_is_a_plan(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("5\n")
    assert _times(f"--arrivals trace:{tmp_path / 't'}").arrivals.times_s.tolist() == [0.0]


def test_the_warm_up_is_a_tenth_at_most_two_seconds_or_what_was_said() -> None:
    wanted = _wanted("--rate 1")
    assert (wanted.warm_s(5.0), wanted.warm_s(100.0)) == (0.5, 2.0)
    assert _wanted("--rate 1 --warm-up-s 0").warm_s(100.0) == 0.0
    with pytest.raises(SettingsError, match="--warm-up-s 5 leaves nothing to count of 5 s"):
        _wanted("--rate 1 --warm-up-s 5").warm_s(5.0)


def test_shapes_and_headers_are_read() -> None:
    wanted = _wanted(
        "--rate 1 --shape ids=1,128 --shape x=FP16:2 --shape s=BYTES: --shape a=b:c=INT64:4 "
        "--header A-b=c=d"
    )
    assert wanted.shapes == {
        "ids": Shape((1, 128)),
        "x": Shape((2,), DType.FP16),
        "s": Shape((), DType.BYTES),
        "a=b:c": Shape((4,), DType.INT64),
    }
    assert wanted.headers == (("a-b", "c=d"),)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "give --rate"),
        ("--rate 1 --concurrency 1", "not both"),
        ("--rate -1", "--rate -1: should be more than 0"),
        ("--rate nan", "--rate nan: should be more than 0"),
        ("--rate 1 --duration-s 0", "--duration-s 0"),
        ("--rate 1 --senders 0", "--senders 0"),
        ("--rate 1 --warm-up-s -2", "--warm-up-s -2: should be 0 or more seconds"),
        ("--rate 1 --warm-up-s nan", "--warm-up-s nan: should be"),
        ("--rate 1 --warm-up-s inf", "--warm-up-s inf: should be"),
        ("--scenario offline --warm-up-s nan", "--warm-up-s nan: should be"),
        ("--scenario offline --loadgen --warm-up-s 1", "counts every query: no --warm-up-s"),
        ("--concurrency 1 --seed -1", "--seed -1: should be 0 or more"),
        ("--concurrency 1 --senders 2", "at least as many as --senders"),
        ("--rate 1 --arrivals never", "--arrivals never: should be poisson"),
        ("--concurrency 1 --arrivals trace:x", "a trace is for an open loop"),
        ("--arrivals trace:/nowhere", "trace:/nowhere cannot be read"),
        ("--rate 1 --shape x", "--shape x: should be as ids=1,128"),
        ("--rate 1 --shape x=a", "--shape x=a: should be"),
        ("--rate 1 --shape x=FP99:1", "--shape x=FP99:1: should be"),
        ("--rate 1 --shape x=-1,2", "--shape x=-1,2: should be"),
        ("--rate 1 --header x", "NAME=VALUE"),
    ],
)
def test_a_mistake_names_its_flag(words: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        _wanted(words).plan()


def test_slices_have_a_warm_up_of_their_own() -> None:
    parser = argparse.ArgumentParser()
    grammar.add(parser)
    words = "--model m --rate 1 --compare a:1 b:2"
    assert read(parser.parse_args(words.split())).warm_up_s is None
    with pytest.raises(SettingsError, match="of each slice itself: no --warm-up-s"):
        read(parser.parse_args([*words.split(), "--warm-up-s", "1"]))


@pytest.mark.parametrize(
    ("text", "message"), [("a\n", "cannot be read: could not convert"), ("", "has no send times")]
)
def test_a_trace_that_is_none_is_told(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t").write_text(text)
    with pytest.raises(SettingsError, match=message):
        _wanted(f"--arrivals trace:{tmp_path / 't'}").plan()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("localhost:8000", Address("localhost:8000")),
        ("http://h", Address("h:80")),
        ("grpc://h:1", Address("h:1")),
        ("http://[::1]:8000/", Address("[::1]:8000")),
        ("http://h:1/a/b/", Address("h:1", "/a/b")),
        ("h:1/日本/ü b", Address("h:1", "/%E6%97%A5%E6%9C%AC/%C3%BC%20b")),
        ("h:1/a%2Fb:c@~", Address("h:1", "/a%2Fb:c@~")),
        ("h:1/\udcff", Address("h:1", "/%FF")),
        ("http://bücher.example:1", Address("xn--bcher-kva.example:1")),
    ],
)
def test_an_address_is_taken_apart(url: str, expected: Address) -> None:
    assert read_address(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        *("http://a..ü:1", "https://h:1", "ftp://h", "http://", "h:99999", "http://h?a=b"),
        *("http://a..b:8000", "http://local host:8000", "http://a\x7fb", "h:0"),
    ],
)
def test_an_address_that_cannot_be_asked_is_told(url: str) -> None:
    with pytest.raises(SettingsError, match="the address"):
        read_address(url)
