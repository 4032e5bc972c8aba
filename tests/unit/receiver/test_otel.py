"""Whose certificates of collectors are good: as requests has it, for Envoy, too."""

from __future__ import annotations

import certifi
import pytest

from headrace.receiver import otel


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
