"""What variables of OpenTelemetry say: whom to trust, and what cannot be done."""

from __future__ import annotations

import subprocess
from pathlib import Path

import certifi
import pytest

from headrace.errors import SettingsError
from headrace.receiver import otel

HERE, AWAY = certifi.where(), "/is/not/there.pem"
NO_PEM = __file__
OTLP = "OTEL_EXPORTER_OTLP_"
HEADERS = "OTEL_EXPORTER_OTLP_HEADERS"
QUEUE, BATCH = "OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"


@pytest.mark.parametrize(
    ("environment", "trusted"),
    [
        ({}, certifi.where()),
        ({"REQUESTS_CA_BUNDLE": ""}, certifi.where()),
        ({"CURL_CA_BUNDLE": "/curl.pem"}, "/curl.pem"),
        ({"CURL_CA_BUNDLE": "/curl.pem", "REQUESTS_CA_BUNDLE": "/ours.pem"}, "/ours.pem"),
    ],
)
def test_a_bundle_that_the_environment_names_is_taken(
    environment: dict[str, str], trusted: str
) -> None:
    assert otel.authorities(environment) == trusted


@pytest.mark.parametrize(
    ("environment", "names"),
    [
        ({"OTEL_BSP_SCHEDULE_DELAY": "0"}, "OTEL_BSP_SCHEDULE_DELAY is '0'.* from 1 on"),
        ({"OTEL_BSP_SCHEDULE_DELAY": "5s"}, "OTEL_BSP_SCHEDULE_DELAY is '5s'"),
        ({QUEUE: "256"}, f"{BATCH} is 512, and {QUEUE} 256: .* set the first to less"),
        ({BATCH: "4096"}, f"{BATCH} is 4096, and {QUEUE} 2048"),
        ({"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "abc"}, "COUNT_LIMIT is 'abc'.* from 0 on"),
        ({"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "-1"}, "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"),
        ({HEADERS: "%20=1"}, f"{HEADERS}: '' is not the name of a header"),
        ({"OTEL_EXPORTER_OTLP_TRACES_HEADERS": "a%3Ab=1"}, "_TRACES_HEADERS: 'a:b' is not"),
        ({HEADERS: "x=secret%0Ab"}, f"{HEADERS}: what it says of x has a control character"),
        ({"OTEL_EXPORTER_OTLP_CERTIFICATE": AWAY}, f"_CERTIFICATE names {AWAY}, which is not"),
        ({"OTEL_EXPORTER_OTLP_CLIENT_KEY": AWAY}, f"_CLIENT_KEY names {AWAY}"),
        ({"CURL_CA_BUNDLE": AWAY}, f"CURL_CA_BUNDLE names {AWAY}"),
        ({f"{OTLP}CERTIFICATE": NO_PEM}, f"_CERTIFICATE names {NO_PEM}.* as certificates"),
        ({"REQUESTS_CA_BUNDLE": NO_PEM}, f"REQUESTS_CA_BUNDLE names {NO_PEM}.* certificates"),
        (
            {f"{OTLP}CLIENT_CERTIFICATE": HERE},
            f"_CLIENT_CERTIFICATE names {HERE}, and no _CLIENT_KEY is named: these are no",
        ),
    ],
)
def test_a_variable_that_cannot_be_done_is_named_at_the_start(
    environment: dict[str, str], names: str
) -> None:
    with pytest.raises(SettingsError, match=names) as caught:
        otel.check(environment, "https://collector")
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {QUEUE: "256", BATCH: "256"},
        {QUEUE: "", "OTEL_BSP_SCHEDULE_DELAY": " 100 "},
        {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "", "OTEL_ATTRIBUTE_COUNT_LIMIT": "0"},
        {HEADERS: "API-Key=50%25%20off, second=2,nonsense,=3"},
        {"OTEL_EXPORTER_OTLP_CERTIFICATE": HERE, "REQUESTS_CA_BUNDLE": AWAY},
    ],
)
def test_what_can_be_done_may_be_said(environment: dict[str, str]) -> None:
    assert _refusal(environment, "https://collector") == ""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates and keys of two, and the key of the first with a password."""
    made = tmp_path_factory.mktemp("pem")
    for who in ("mine", "other"):
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=me"]
        command += ["-out", f"{who}.pem", "-keyout", f"{who}.key"]
        subprocess.run(command, check=True, capture_output=True, cwd=made)
    command = ["openssl", "rsa", "-aes128", "-passout", "pass:word", "-in", "mine.key"]
    subprocess.run([*command, "-out", "locked.key"], check=True, capture_output=True, cwd=made)
    (made / "both.pem").write_text(
        (made / "mine.key").read_text() + (made / "mine.pem").read_text()
    )
    return made


@pytest.mark.parametrize(
    "named",
    [
        {"CLIENT_CERTIFICATE": "mine.pem", "CLIENT_KEY": "mine.key"},
        {"CLIENT_CERTIFICATE": "both.pem"},
        {"CERTIFICATE": "mine.pem"},
        {"CERTIFICATE": "."},
    ],
)
def test_pem_files_that_are_good_may_be_named(folder: Path, named: dict[str, str]) -> None:
    environment = {f"{OTLP}{what}": str(folder / file) for what, file in named.items()}
    assert _refusal(environment, "https://collector") == ""


@pytest.mark.parametrize("key", ["other.key", "locked.key", "mine.pem"])
def test_a_key_that_does_not_open_its_certificate_is_named_at_the_start(
    folder: Path, key: str
) -> None:
    certificate = folder / "mine.pem"
    environment = {
        f"{OTLP}CLIENT_CERTIFICATE": str(certificate),
        f"{OTLP}TRACES_CLIENT_KEY": str(folder / key),
    }
    refusal = _refusal(environment, "https://collector")
    assert f"{OTLP}CLIENT_CERTIFICATE names {certificate}, and" in refusal
    assert f"{OTLP}TRACES_CLIENT_KEY names {folder / key}: these are no certificate" in refusal


def test_files_matter_only_to_a_collector_with_tls() -> None:
    away = {"OTEL_EXPORTER_OTLP_CERTIFICATE": AWAY}
    assert _refusal(away, "http://collector") == ""
    assert AWAY in _refusal(away, "https://collector")


def _refusal(environment: dict[str, str], endpoint: str) -> str:
    """What is said against it; nothing where there is nothing."""
    try:
        otel.check(environment, endpoint)
    except SettingsError as error:
        return error.message
    return ""
