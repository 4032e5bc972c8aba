from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from headrace.settings import ModelSettings, Settings
from headrace.urls import Url, is_url


@pytest.mark.parametrize(
    ("text", "scheme", "place", "name"),
    [
        ("s3://bucket", "s3", "bucket", "bucket"),
        ("s3://bucket/models/resnet/", "s3", "bucket/models/resnet", "resnet"),
        ("gs://bucket/a%20b", "gs", "bucket/a%20b", "a%20b"),
        ("https://host:8443/a%20b", "https", "host:8443/a%20b", "a b"),
        ("S3://Bucket/M", "s3", "Bucket/M", "M"),
        ("http://h/müller/a%20b+c", "http", "h/m%C3%BCller/a%20b+c", "a b+c"),
        ("http://h/müller", "http", "h/m%C3%BCller", "müller"),
        ("s3://b/müller", "s3", "b/müller", "müller"),
    ],
)
def test_a_url_has_a_scheme_a_place_and_a_name(
    text: str, scheme: str, place: str, name: str
) -> None:
    url = Url.parse(text)
    assert (url.scheme, url.place, url.name) == (scheme, place, name)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ftp://host/x", "should be a path or one of s3://"),
        ("s3://", "names no place"),
        ("s3:///models", "names no place"),
        ("https://me:secret@host/x", "~/.netrc"),
        ("https://host/x?token=1", r"no \?"),
        ("s3://b/a#b", "no #"),
        ("s3://b/a b", "no spaces"),
        ("s3://b/../etc", r"\.\."),
        ("https://h/%2e%2e/etc", r"\.\."),
        ("https://h/a%2f..", r"\.\."),
        ("s3://b/a//b", "no empty name"),
        ("https://[::1/x", "is no URL"),
    ],
)
def test_what_is_no_url_of_models_says_why(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Url.parse(text)


def test_settings_tell_urls_from_paths_and_keep_both_over_the_wire() -> None:
    settings = Settings.model_validate(
        {"models": [{"path": "s3://b/m/"}, {"path": "m"}, {"path": "file:///srv/m"}]}
    )
    again = [
        ModelSettings.model_validate_json(entry.model_dump_json()) for entry in settings.models
    ]
    assert again == list(settings.models)
    paths = [entry.path for entry in again]
    assert [str(path) for path in paths] == ["s3://b/m", "m", "/srv/m"]
    assert [isinstance(path, Url) for path in paths] == [True, False, False]


def test_a_bad_url_is_no_path_either() -> None:
    with pytest.raises(ValidationError, match="should be a path or one of"):
        TypeAdapter(ModelSettings).validate_python({"path": "ftp://host/x"})


def test_a_place_is_within_itself_and_those_above_it() -> None:
    root = Url.parse("s3://b/m")
    assert Url.parse("s3://b/m").is_within(root)
    assert Url.parse("s3://b/m/x/y").is_within(root)
    assert not Url.parse("s3://b/m2").is_within(root)
    assert not Url.parse("s3://b").is_within(root)


def test_the_url_of_a_file_here_is_a_path() -> None:
    assert [is_url(text) for text in ("s3://b", "file:///x", "x", "/x")] == [
        True,
        False,
        False,
        False,
    ]
