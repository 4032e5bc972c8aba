"""One question before a load: what a model takes, and whether it answers at all.

A run of a single request, so nothing but the generator is needed to ask.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import NamedTuple
from urllib.parse import unquote

import numpy as np
import orjson
from google.protobuf.message import DecodeError

from headrace.errors import MalformedAnswer, SettingsError, StartError
from headrace.load.address import Address
from headrace.load.apis.contract import Api, Question, Specs
from headrace.load.arrivals import Arrivals
from headrace.load.generator import generate
from headrace.load.plan import Headers, OpenLoop, Protocol, Target
from headrace.load.pool import NO_ANSWER, NOT_THERE
from headrace.load.result import OK, Answer, Kind, Outcome, kind

# A server that says nothing for so long is not there; models answer within it, cold ones too.
_TIMEOUT_S = 60.0
_ONCE = OpenLoop(Arrivals(np.zeros(1), 1e-3))
_LONGEST_REASON = 500
_WRONG_PROTOCOL = {
    Protocol.GRPC: "does not speak gRPC without TLS there: --protocol, or another port?",
    Protocol.HTTP: "does not speak HTTP/1.1 without TLS there: --protocol, or another port?",
}


_CODINGS = ("content-encoding", "grpc-encoding")
# Which of them says nothing to who asked: it is not what the protocol promises.
_NOT_READ = (
    *(ValueError, LookupError, TypeError, AttributeError, DecodeError),
    *(OverflowError, RecursionError, MemoryError),
)
# What answers of a protocol have in JSON; or there is binary data, and this says so.
_ANSWERS = frozenset({"outputs", "predictions", "output"})
_BINARY = "inference-header-content-length"


class Said(NamedTuple):
    """How a question ended, and what was answered."""

    outcome: Outcome
    answer: Answer

    @property
    def reason(self) -> str:
        """The status and the words of a refusal."""
        words = _words(self.answer)
        return f"{self.outcome}: {words}" if words else str(self.outcome)


def ask(target: Target) -> Said:
    """Send the first message of a target, and wait for the answer.

    Raises:
        StartError: nobody answers there, or in another protocol.
    """
    once = replace(
        target, messages=target.messages[:1], timeout_s=_TIMEOUT_S, connections=1, keep=1
    )
    try:
        result = generate(_ONCE, once)
    except StartError as error:
        # One that is there, and has not begun to speak HTTP/2.
        silent = error.message.startswith(NO_ANSWER) and not error.message.endswith(NOT_THERE)
        if target.protocol is Protocol.GRPC and silent:
            raise StartError(f"{error.message}; it {_WRONG_PROTOCOL[target.protocol]}") from error
        raise
    outcome = result.outcomes[result.outcome[0]]
    if outcome.status == "protocol_error":
        raise StartError(f"{target.address} {_WRONG_PROTOCOL[target.protocol]}")
    return Said(outcome, result.answers.get(0, Answer({}, b"")))


def find_specs(api: Api, address: Address, model: str, headers: Headers = ()) -> Specs:
    """Ask a server what a model takes.

    Raises:
        SettingsError: it does not say, or has no such model.
        StartError: nobody answers there.
    """
    refused = []
    for question in api.questions:
        said = ask(_to_target(question, address, model, headers))
        if said.outcome is OK:
            return _read(question, said.answer, model)
        refused.append(said.reason)
    raise SettingsError(
        f"{address.authority} does not say what the model {model!r} takes ({'; '.join(refused)}): "
        "is --model right? If it is, say it yourself: --shape NAME=TYPE:SIZES for each input"
    )


def _to_target(question: Question, address: Address, model: str, headers: Headers) -> Target:
    return Target(
        question.protocol,
        address.authority,
        address.prefix + question.path(model),
        (question.message(model),),
        question.method,
        headers,
    )


def _read(question: Question, answer: Answer, model: str) -> Specs:
    try:
        return question.read(answer)
    except _NOT_READ as error:
        raise MalformedAnswer(
            f"what the server says of the model {model!r} cannot be read: {error!r}; say it "
            "yourself: --shape NAME=TYPE:SIZES for each input"
        ) from error


def check(target: Target, api: Api) -> Said:
    """Send one request as it will be sent, so that a wrong one is told before the load.

    A refusal for lack of time or room is none: the server may be busy.

    Raises:
        SettingsError: the server does not take such requests, or answers something else.
        StartError: nobody answers there.
    """
    said = ask(target)
    if kind(said.outcome) is Kind.FAILED:
        raise SettingsError(f"{target.address} does not answer the request: {said.reason}")
    if said.outcome is OK:
        _see(target, api, said.answer)
    return said


def _see(target: Target, api: Api, answer: Answer) -> None:
    """See that it is an answer, and not the page of a gateway, say."""
    if any(answer.headers.get(name, "identity") != "identity" for name in _CODINGS):
        return  # asked for with --header; what is in it we do not see
    try:
        api.decode(answer)
    except _NOT_READ as error:
        if _is_like_one(target, answer, error):
            return  # with values that only we do not read, perhaps
        raise SettingsError(
            f"{target.address} answers, but not as the protocol does: --protocol, --model, or "
            f"another URL? It says {_words(answer)!r} ({error!r})"
        ) from error


def _is_like_one(target: Target, answer: Answer, error: Exception) -> bool:
    if target.protocol is Protocol.GRPC:
        return not isinstance(error, DecodeError)
    if _BINARY in answer.headers:
        return True
    try:
        said = json.loads(answer.body)  # which reads NaN too
    except (ValueError, RecursionError):
        return False
    return isinstance(said, dict) and not _ANSWERS.isdisjoint(said)


def _words(answer: Answer) -> str:
    """What an answer says is wrong: gRPC's message, JSON's ``error``, or its text."""
    said = answer.headers.get("grpc-message")
    said = _from_body(answer.body) if said is None else unquote(said)
    return said if len(said) <= _LONGEST_REASON else f"{said[:_LONGEST_REASON]}..."


def _from_body(body: bytes) -> str:
    try:
        said = orjson.loads(body)
        return str(said["error"])
    except (ValueError, KeyError, TypeError):
        return " ".join(body.decode("utf-8", "replace").split())
