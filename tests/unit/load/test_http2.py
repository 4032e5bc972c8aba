"""Our client's half of HTTP/2 against the server's half of the `h2` library, in memory."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest

from headrace.errors import SettingsError
from headrace.load import frames, hpack
from headrace.load.codec import BadAnswer, Ended, Kept
from headrace.load.http2 import Http2
from headrace.load.plan import Message, Protocol, Target
from headrace.load.result import CONNECTION_LOST, OK, Outcome

PATH = "/inference.GRPCInferenceService/ModelInfer"
Fields = list[tuple[str, str]]
ASKED = {":method": "POST", ":scheme": "http", ":path": PATH, "te": "trailers"}
HEAD: Fields = [(":status", "200"), ("content-type", "application/grpc")]
GOOD: Fields = [("grpc-status", "0")]
FULL: Fields = [
    (":status", "200"),
    ("content-type", "application/grpc"),
    ("grpc-status", "8"),
    ("grpc-message", "the queue is full"),
    ("headrace-error", "queue_full"),
]


def _target(*bodies: bytes) -> Target:
    messages = tuple(Message(body) for body in bodies)
    return Target(Protocol.GRPC, "host:1", PATH, messages, headers=(("Grpc-Timeout", "1S"),))


class Pair:
    """A codec and a server, with nothing but bytes between them."""

    def __init__(self, *bodies: bytes, keep: int = 0, **settings: int) -> None:
        self.kept = Kept(keep)
        self.codec = Http2(frames.encode(_target(*(bodies or (b"hello",)))), self.kept)
        self.server = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        )
        codes = h2.settings.SettingCodes
        self.server.update_settings({codes[name]: value for name, value in settings.items()})
        self.bodies: dict[int, bytes] = {}
        self.heads: dict[int, dict[str, str]] = {}
        self.ended: list[int] = []  # streams whose request is whole
        self.reset: list[tuple[int, int]] = []
        self.acknowledge = True
        self.outcomes: list[Ended] = []

    def turn(self, cut: int | None = None) -> None:
        """Carry all bytes both ways until nobody has more to say; ``cut`` them into pieces."""
        while self.codec.out or (data := self.server.data_to_send()):
            if self.codec.out:
                sent, self.codec.out = b"".join(self.codec.out), []
                for event in self.server.receive_data(sent):
                    self._note(event)
            else:
                step = cut or len(data)
                for at in range(0, len(data), step):
                    self.outcomes += self.codec.feed(data[at : at + step])

    def _note(self, event: Any) -> None:
        match event:
            case h2.events.RequestReceived():
                self.heads[event.stream_id] = {str(name): str(v) for name, v in event.headers}
                self.bodies[event.stream_id] = b""
            case h2.events.DataReceived():
                self.bodies[event.stream_id] += event.data
                if self.acknowledge:
                    size = event.flow_controlled_length
                    self.server.acknowledge_received_data(size, event.stream_id)
            case h2.events.StreamEnded():
                self.ended.append(event.stream_id)
            case h2.events.StreamReset():
                self.reset.append((event.stream_id, event.error_code))

    def answer(
        self, stream: int, body: bytes = b"", trailers: Fields = GOOD, **options: Any
    ) -> None:
        self.server.send_headers(stream, HEAD)
        self.server.send_data(stream, frame_grpc(body), **options)
        self.server.send_headers(stream, trailers, end_stream=True)


def frame_grpc(body: bytes) -> bytes:
    return b"\0" + struct.pack(">I", len(body)) + body


def test_a_request_is_grpc_with_its_headers_and_its_framed_body() -> None:
    pair = Pair(b"hello")
    pair.codec.send(0)
    pair.turn()
    assert pair.heads[1] == {
        **ASKED,
        ":authority": "host:1",
        "content-type": "application/grpc",
        "grpc-timeout": "1S",
    }
    assert pair.bodies[1] == frame_grpc(b"hello")
    assert pair.ended == [1]


def test_a_host_that_is_given_is_the_authority_and_a_content_type_takes_the_place_of_ours() -> None:
    given = (("Host", "model.example"), ("Content-Type", "application/grpc+proto"), ("x", "1"))
    pair = Pair()
    pair.codec = Http2(frames.encode(replace(_target(b"hello"), headers=given)), pair.kept)
    pair.codec.send(0)
    pair.turn()
    assert pair.heads[1] == {
        **ASKED,
        ":authority": "model.example",
        "content-type": "application/grpc+proto",
        "x": "1",
    }


def test_a_header_that_http2_has_not_is_refused() -> None:
    with pytest.raises(SettingsError, match="connection cannot be given"):
        frames.encode(replace(_target(b""), headers=(("Connection", "close"),)))


def test_the_server_has_spoken_when_its_settings_came() -> None:
    pair = Pair()
    assert not pair.codec.ready
    pair.turn()
    assert pair.codec.ready


@pytest.mark.parametrize("cut", [1, 2, 3, 5, 8, 13, 21, 34, 200])
def test_answers_are_the_same_however_they_arrive(cut: int) -> None:
    pair = Pair(keep=1)
    for index in range(3):
        pair.codec.send(index)
    pair.turn()
    pair.answer(3, trailers=[("grpc-status", "13"), ("headrace-error", "internal")])
    pair.answer(1, b"first", pad_length=7)
    pair.server.send_headers(5, FULL, end_stream=True)
    pair.turn(cut)
    assert pair.outcomes == [
        (1, Outcome("INTERNAL", "internal")),
        (0, OK),
        (2, Outcome("RESOURCE_EXHAUSTED", "queue_full")),
    ]
    assert pair.kept.answers.keys() == {0}
    assert pair.kept.answers[0].body == b"first"
    assert dict(pair.kept.answers[0].headers) == dict(HEAD) | dict(GOOD)


def test_the_server_keeps_no_table_so_that_equal_answers_are_equal_bytes() -> None:
    pair = Pair()
    for index in range(50):
        pair.codec.send(index)
    pair.turn()
    for stream in pair.ended:
        pair.answer(stream)
    pair.turn()
    assert pair.outcomes == [(index, OK) for index in range(50)]
    assert len(pair.codec._blocks) <= 3  # with the size of the table in the very first


def test_a_body_larger_than_every_window_goes_in_pieces_as_the_server_makes_room() -> None:
    large = bytes(range(256)) * 2000
    pair = Pair(large, b"small", INITIAL_WINDOW_SIZE=40_000)
    pair.turn()
    for index in range(4):
        pair.codec.send(index)
    pair.turn()
    assert sorted(pair.ended) == [1, 3, 5, 7]
    assert pair.bodies[1] == pair.bodies[5] == frame_grpc(large)
    assert pair.bodies[3] == pair.bodies[7] == frame_grpc(b"small")


def test_a_window_smaller_than_a_frame_is_enough() -> None:
    pair = Pair(bytes(50_000), b"small", INITIAL_WINDOW_SIZE=3)
    pair.turn()
    for index in range(2):
        pair.codec.send(index)
    pair.turn()
    assert pair.bodies == {1: frame_grpc(bytes(50_000)), 3: frame_grpc(b"small")}
    assert sorted(pair.ended) == [1, 3]


def test_a_large_body_is_not_copied_for_every_request() -> None:
    pair = Pair(bytes(60_000))
    pair.turn()
    pair.codec.send(0)
    views = [piece for piece in pair.codec.out if isinstance(piece, memoryview)]
    assert sum(len(view) for view in views) == 60_005
    assert len({id(view.obj) for view in views}) == 1


@pytest.mark.parametrize(
    ("allowed", "sent"), [(16_384, 16_384), (50_000, 50_000), (2**20, frames.LARGEST_FRAME_BYTES)]
)
def test_frames_are_as_large_as_the_server_takes_and_grpc_clients_send(
    allowed: int, sent: int
) -> None:
    pair = Pair(bytes(300_000), MAX_FRAME_SIZE=allowed, INITIAL_WINDOW_SIZE=2**20)
    pair.server.increment_flow_control_window(2**20)
    pair.turn()
    pair.codec.send(0)
    sizes = [len(piece) for piece in pair.codec.out if isinstance(piece, memoryview)]
    assert max(sizes) == sizes[0] == sent
    pair.turn()
    assert pair.bodies[1] == frame_grpc(bytes(300_000))


def test_nothing_is_sent_past_a_window_that_is_never_opened() -> None:
    pair = Pair(bytes(100_000))
    pair.acknowledge = False
    pair.turn()
    pair.codec.send(0)
    pair.turn()  # h2 raises if the client sends more than it may
    assert pair.ended == []
    assert len(pair.bodies[1]) == 65_535


def test_smaller_windows_announced_in_the_middle_are_kept_to() -> None:
    pair = Pair(bytes(200_000))
    pair.codec.send(0)  # before the server said anything
    pair.server.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 20_000})
    pair.turn()
    assert pair.bodies[1] == frame_grpc(bytes(200_000))


def test_there_is_room_for_as_many_requests_as_the_server_takes() -> None:
    pair = Pair(MAX_CONCURRENT_STREAMS=2)
    pair.turn()
    assert pair.codec.room == 2
    pair.codec.send(0)
    pair.codec.send(1)
    assert pair.codec.room == 0
    pair.turn()
    pair.answer(1)
    pair.turn()
    assert pair.codec.room == 1


def test_giving_up_resets_the_stream_and_its_late_answer_is_nobodys() -> None:
    pair = Pair(keep=2)
    first = pair.codec.send(0)
    pair.codec.send(1)
    pair.turn()
    pair.answer(first, b"under way")
    pair.codec.cancel(first)
    assert pair.codec.out == [frames.frame(frames.RST_STREAM, 0, first, b"\0\0\0\x08")]
    assert pair.codec.feed(pair.server.data_to_send()) == []
    pair.turn()
    pair.answer(3, b"other")
    pair.turn()
    assert pair.outcomes == [(1, OK)]
    assert pair.kept.answers.keys() == {1}


def test_giving_up_a_request_that_waits_for_room_sends_no_more_of_it() -> None:
    pair = Pair(bytes(100_000), b"next")
    pair.acknowledge = False
    pair.turn()
    pair.codec.cancel(pair.codec.send(0))
    pair.turn()
    assert pair.reset == [(1, 8)]
    pair.server.increment_flow_control_window(200_000)
    pair.turn()
    pair.codec.send(1)
    pair.turn()
    assert pair.ended == [3]


def test_a_reset_names_its_reason() -> None:
    pair = Pair()
    pair.codec.send(0)
    pair.turn()
    pair.server.reset_stream(1, error_code=11)
    pair.turn()
    assert pair.outcomes == [(0, Outcome("RST_STREAM", "ENHANCE_YOUR_CALM"))]


def test_a_stream_the_server_refused_to_look_at_is_to_be_sent_again() -> None:
    pair = Pair()
    pair.codec.send(0)
    pair.turn()
    pair.server.reset_stream(1, error_code=7)
    pair.turn()
    assert pair.outcomes == []
    assert pair.codec.unseen == [0]
    assert not pair.codec.leaving


def test_a_ping_is_answered() -> None:
    pair = Pair()
    pair.turn()
    pair.codec.feed(frames.frame(frames.PING, 0, 0, b"12345678"))
    assert pair.codec.out == [frames.frame(frames.PING, frames.ACK, 0, b"12345678")]
    pair.codec.out.clear()
    pair.codec.feed(frames.frame(frames.PING, frames.ACK, 0, b"12345678"))
    assert pair.codec.out == []


def test_after_a_goaway_what_was_seen_is_answered_and_the_rest_goes_elsewhere() -> None:
    pair = Pair()
    pair.turn()
    for index in range(3):
        pair.codec.send(index)
    pair.codec.feed(frames.frame(frames.GOAWAY, 0, 0, struct.pack(">II", 1, 0)))
    assert pair.codec.unseen == [1, 2]
    assert (pair.codec.leaving, pair.codec.room) == (True, 0)
    pair.turn()
    pair.answer(1)
    pair.turn()
    assert pair.outcomes == [(0, OK)]
    assert pair.codec.room == 0


def test_a_lost_connection_loses_what_was_under_way() -> None:
    pair = Pair()
    for index in range(3):
        pair.codec.send(index)
    pair.turn()
    pair.answer(3)
    pair.turn()
    assert pair.codec.end(CONNECTION_LOST) == [(0, CONNECTION_LOST), (2, CONNECTION_LOST)]
    assert pair.codec.end(CONNECTION_LOST) == []


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ([(":status", "503"), ("content-type", "text/html")], "503 Service Unavailable"),
        ([(":status", "404")], "404 Not Found"),
        ([(":status", "200")], "no grpc-status"),
    ],
)
def test_an_answer_that_is_no_grpc_is_named_by_its_http_status(
    answer: Fields, outcome: str
) -> None:
    pair = Pair()
    pair.codec.send(0)
    pair.codec.send(1)
    pair.turn()
    pair.server.send_headers(1, answer, end_stream=True)
    pair.server.send_headers(3, answer)
    pair.server.send_data(3, b"<html>", end_stream=True)
    pair.turn()
    assert pair.outcomes == [(0, Outcome(outcome)), (1, Outcome(outcome))]


def test_interim_headers_are_passed_over() -> None:
    pair = Pair()
    pair.codec.send(0)
    pair.turn()
    pair.server.send_headers(1, [(":status", "103"), ("link", "x")])
    pair.answer(1)
    pair.turn()
    assert pair.outcomes == [(0, OK)]


def test_headers_larger_than_a_frame_are_continued() -> None:
    pair = Pair(keep=1)
    pair.codec.send(0)
    pair.turn()
    pair.answer(1, trailers=[*GOOD, ("x-long", "~" * 20_000)])
    pair.turn()
    assert pair.outcomes == [(0, OK)]
    assert len(pair.kept.answers[0].headers["x-long"]) == 20_000


def test_the_room_for_answers_is_given_back_in_large_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("headrace.load.http2._CREDIT_BYTES", 1000)
    pair = Pair()
    pair.codec.send(0)
    pair.turn()
    before = pair.server.outbound_flow_control_window
    pair.answer(1, bytes(1500))
    pair.turn()
    assert pair.server.outbound_flow_control_window == before


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        frames.frame(frames.WINDOW_UPDATE, 0, 0, b"\0"),
        frames.frame(frames.GOAWAY, 0, 0, b"\0"),
        frames.frame(frames.SETTINGS, 0, 0, b"\0"),
        frames.frame(frames.CONTINUATION, frames.END_HEADERS, 1, b""),
        frames.frame(frames.HEADERS, frames.END_HEADERS | frames.PADDED, 1, b""),
        frames.frame(frames.HEADERS, frames.END_HEADERS, 1, b"\xbe"),
        frames.frame(frames.HEADERS, frames.END_HEADERS, 1, b"\x08\x03abc"),  # :status abc
        frames.frame(frames.HEADERS, frames.END_HEADERS, 1, b"\x08\x042\xc2\xb20"),  # :status 2²0
        frames.frame(frames.HEADERS, frames.END_HEADERS, 1, b"\x08\x032\xb20"),
    ],
)
def test_what_is_no_answer_is_said_to_be_none(data: bytes) -> None:
    pair = Pair()
    pair.turn()
    with pytest.raises(BadAnswer):
        pair.codec.feed(data)


def test_an_answer_before_nonsense_is_an_answer() -> None:
    pair = Pair()
    pair.codec.send(0)
    pair.codec.send(1)
    pair.turn()
    pair.answer(1)
    with pytest.raises(BadAnswer):
        pair.codec.feed(pair.server.data_to_send() + frames.frame(frames.GOAWAY, 0, 0))
    assert pair.codec.end(CONNECTION_LOST) == [(0, OK), (1, CONNECTION_LOST)]


def test_frames_of_unknown_types_are_passed_over() -> None:
    pair = Pair()
    pair.turn()
    assert pair.codec.feed(frames.frame(0x42, 0, 0, b"whatever")) == []


def test_headers_that_do_not_fit_a_frame_are_refused_before_the_run() -> None:
    with pytest.raises(SettingsError, match=r"headers .* give fewer or shorter ones \(--header\)"):
        frames.encode(Target(Protocol.GRPC, "h:1", "/" + "x" * 20_000, (Message(b""),)))


def test_blocks_are_forgotten_before_they_fill_the_memory() -> None:
    codec = Pair().codec
    for index in range(1500):
        trailers = [*FULL, ("retry-after", str(index))]
        stream, flags = codec.send(index), frames.END_HEADERS | frames.END_STREAM
        ended = codec.feed(frames.frame(frames.HEADERS, flags, stream, hpack.encode(trailers)))
        assert ended == [(index, Outcome("RESOURCE_EXHAUSTED", "queue_full"))]
    assert len(codec._blocks) <= 1024
