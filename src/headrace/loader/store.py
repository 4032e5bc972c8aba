"""From what the operator names to the versions that will be served: places, with their settings.

``places`` says where versions lie.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from headrace.control import TunedUse
from headrace.cores import usable_cores
from headrace.errors import (
    InvalidInput,
    ModelLoadError,
    ModelNotFound,
    OperatorError,
    SettingsError,
)
from headrace.layers import origins, resolve, said_of
from headrace.loader.allotment import here
from headrace.loader.card import read_labels, read_said
from headrace.loader.placement import suited
from headrace.loader.places import Complaint, Place, locate
from headrace.loader.several import check_model, check_models, check_server
from headrace.loader.tokenizers import Copy, check_tokenizers
from headrace.loader.tuned_card import NOTHING, consult
from headrace.order import VersionPolicy
from headrace.settings import ModelSettings, Placement, Settings


@dataclass(frozen=True, slots=True)
class FoundVersion:
    """One version of one model, found and settled but not yet loaded.

    ``path`` is the model file, ``folder`` the model's own folder; ``settings`` are resolved with
    the card, ``labels`` read; ``remarks`` are for the log. ``tuned`` is what was taken of a tuned
    card, ``aside`` why none was though there is one, ``origins`` which layer said what. ``copies``
    are what it is loaded with of the tokenizers that the card names, once it is.
    """

    name: str
    version: int
    path: Path
    folder: Path
    settings: ModelSettings
    labels: tuple[str, ...] = ()
    remarks: tuple[str, ...] = field(default=(), compare=False)
    tuned: TunedUse | None = field(default=None, compare=False)
    aside: str = field(default="", compare=False)
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)
    copies: tuple[Copy, ...] = field(default=(), compare=False)

    @property
    def tokenizers(self) -> dict[str, str]:
        """Where each tokenizer that the card names is to be read, once it is loaded."""
        return {str(copy.of): str(copy.path) for copy in self.copies}


def find(
    settings: Settings, *, cores: int | None = None, written: Sequence[str] = ()
) -> tuple[FoundVersion, ...]:
    """Find every version of every model named in the settings, in that order, versions ascending.

    ``cores`` decides how many instances a model gets that does not say; None: those usable here.
    ``written`` is where each entry of ``models`` is, for what is said of it; nowhere is ``""``.

    Raises:
        SettingsError: there is no model at all, the default model is unknown, or a card is bad.
        ModelLoadError: a model cannot be found or read; names every such problem, a line each.
    """
    check_any(settings)
    usable = usable_cores() if cores is None else cores
    found: list[FoundVersion] = []
    errors: list[OperatorError] = []
    entry_of: dict[str, str] = {}
    for number, entry in enumerate(settings.models):
        origin = written[number] if written else ""
        where = f"{origin}: models[{number}]: " if origin else ""
        try:
            places = _wanted(locate(entry), policy_of(entry, settings.defaults))
            entry_of |= {place.name: where for place in places}
            found += [settle(place, entry, settings, usable) for place in places]
        except OperatorError as error:
            errors.append(type(error)(f"{where}{error.message}"))
    for told in (twins(found), astray(found)):
        errors += [type(error)(f"{entry_of[name]}{error.message}") for name, error in told]
    _raise(errors)
    check_models(settings.server, (one.name for one in found))
    _check_default(settings.server.default_model, found)
    return tuple(found)


def check_any(settings: Settings) -> None:
    """Check that the settings name a model at all.

    Raises:
        SettingsError: they do not, or the server cannot be so.
    """
    check_server(settings.server)
    if not settings.models:
        raise SettingsError("nothing to serve: give a PATH, or `models` in the settings file")


def find_named(
    settings: Settings,
    name: str,
    *,
    folder: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    policy: VersionPolicy | None = None,
    cores: int | None = None,
) -> tuple[FoundVersion, ...]:
    """Find the versions to serve of one model as it is now, ascending.

    ``folder`` is where it lies, in place of where the settings say; ``overrides`` are keys of
    ``ModelSettings`` that win over the rest; ``policy`` wins over its ``versions``.

    Raises:
        ModelNotFound: the settings name no such model, it is no longer there, or it lacks one of
            the versions asked for.
        SettingsError: its card is bad.
        InvalidInput: an override is.
        ModelLoadError: it cannot be read, or is of a kind that is not served here.
    """
    usable = usable_cores() if cores is None else cores
    if folder is None:
        lying = _named(settings, name)
    else:
        entry = _named(settings, name).entry.model_copy(update={"path": folder, "name": name})
        lying = _locate(entry, name)
    entry = _override(lying.entry, overrides or {})
    places = lying.choose(policy or policy_of(entry, settings.defaults))
    if not places:
        if folder is not None:
            locate(entry)  # which says what it has looked for
        raise ModelNotFound(f"there is no model {name!r} where the settings look for models")
    return tuple(settle(place, entry, settings, usable) for place in places)


def policy_of(entry: ModelSettings, defaults: ModelSettings) -> VersionPolicy:
    """Which of its versions a model of this entry serves."""
    said = entry if "versions" in entry.model_fields_set else defaults
    return VersionPolicy(latest=said.versions.latest, specific=said.versions.specific)


def _wanted(places: list[Place], policy: VersionPolicy) -> list[Place]:
    """Those that the policy wants, of each model.

    Raises:
        ModelLoadError: one that it names is not there.
    """
    for name, versions in _versions(places).items():
        missing = sorted(set(policy.specific or ()) - versions)
        if missing:
            raise ModelLoadError(
                f"model {name!r} has no version {', '.join(map(str, missing))}, which `versions` "
                f"names; it has {', '.join(map(str, sorted(versions)))}"
            )
    return choose(places, policy)


def choose(places: Sequence[Place], policy: VersionPolicy) -> list[Place]:
    """Those of the places that the policy wants, of each model."""
    wanted = {name: policy.choose(versions) for name, versions in _versions(places).items()}
    return [place for place in places if place.version in wanted[place.name]]


def _versions(places: Iterable[Place]) -> dict[str, set[int]]:
    there: dict[str, set[int]] = {}
    for place in places:
        there.setdefault(place.name, set()).add(place.version)
    return there


def lies_in(settings: Settings, name: str) -> bool:
    """Whether there is a model of that name, in whatever state, where these settings look."""
    return _named(settings, name).is_there


class _Lying(NamedTuple):
    """How one model lies now: its places, and what is wrong with it."""

    entry: ModelSettings
    places: list[Place]
    complaints: list[Complaint]

    @property
    def is_there(self) -> bool:
        """Whether there is more of it than its configuration."""
        return bool(self.places) or not all(told.is_empty for told in self.complaints)

    def choose(self, policy: VersionPolicy) -> list[Place]:
        """The places that a policy wants.

        Raises:
            ModelNotFound: one that it names is not there.
            OperatorError: one that it wants cannot be taken as it lies there, or it wants two
                models of this name.
        """
        broken = {told.version for told in self.complaints if told.version is not None}
        wanted = policy.choose({place.version for place in self.places} | broken)
        for told in self.complaints:
            if told.version is None or told.version in wanted:
                raise told.error
        try:
            places = _wanted(self.places, policy)
        except ModelLoadError as error:
            raise ModelNotFound(error.message) from error
        for _, twice in twins(places):
            raise twice
        return places


def _named(settings: Settings, name: str) -> _Lying:
    """How a model lies now; an entry that cannot be read and is not its own is passed over."""
    found = _Lying(settings.every_model, [], [])
    for entry in settings.models:
        lying = _locate(entry, name)
        if lying.is_there:
            return lying
        if lying.complaints and not found.complaints:
            found = lying
    return found


def _locate(entry: ModelSettings, name: str) -> _Lying:
    complaints: list[Complaint] = []
    try:
        places = [place for place in locate(entry, complaints.append) if place.name == name]
    except ModelLoadError as error:
        places, complaints = [], [Complaint(entry.name or "", None, error)]
    return _Lying(entry, places, [told for told in complaints if told.name == name])


def _override(entry: ModelSettings, overrides: Mapping[str, Any]) -> ModelSettings:
    said = {key: getattr(entry, key) for key in entry.model_fields_set}
    try:
        return ModelSettings.model_validate({**said, **overrides})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise InvalidInput(f"setting {where} of the order: {first['msg']}") from error


def settle(place: Place, entry: ModelSettings, settings: Settings, cores: int) -> FoundVersion:
    """Settle the settings of a version, with its card and its tuned card.

    Raises:
        SettingsError: its card is bad, or this machine cannot place it as it asks for.
        ModelLoadError: its labels or a tokenizer cannot be read.
    """
    card, remarks = read_said(place.path.parent, place.folder)
    defaults = settings.defaults
    said = said_of(entry, card, defaults)
    tuned = consult(place.path, said) if settings.server.tuned else NOTHING
    settled = resolve(entry, card, defaults, cores=cores, tuned=tuned.settings)
    settled = settled.model_copy(update={"name": place.name})
    said_by = origins(entry, card, defaults, tuned.settings)
    if settled.placement is not Placement.NONE:
        settled = suited(here(), place.name, settled, said="instances" in said_by)
    check_model(settings.server, place.name, settled, said_by)
    try:
        labels = read_labels(settled.labels)
        check_tokenizers(settled.accepts)
    except ModelLoadError as error:
        raise ModelLoadError(f"model {place.name!r}: {error.message}") from error
    return FoundVersion(
        *place,
        settings=settled,
        labels=labels,
        remarks=remarks,
        tuned=tuned.use,
        aside=tuned.aside,
        origins=said_by,
    )


def twins(found: Iterable[FoundVersion | Place]) -> list[tuple[str, OperatorError]]:
    """Name every two models of one name that are not versions in one folder, with the name."""
    first: dict[str, FoundVersion | Place] = {}
    problems: dict[tuple[str, Path], OperatorError] = {}
    for one in found:
        other = first.setdefault(one.name, one)
        same_model = other.folder == one.folder and other.version != one.version
        if other is not one and not same_model:
            problems[one.name, one.folder] = ModelLoadError(
                f"two models are called {one.name!r}: {other.path} and {one.path}; "
                "give one of them another `name`"
            )
    return [(name, error) for (name, _), error in problems.items()]


def astray(found: Iterable[FoundVersion]) -> list[tuple[str, OperatorError]]:
    """Name every label that stands for a version which is not served, with its model's name."""
    versions: dict[str, list[int]] = {}
    labels: dict[tuple[str, str], int] = {}
    for one in found:
        versions.setdefault(one.name, []).append(one.version)
        labels |= {(one.name, label): to for label, to in one.settings.version_labels.items()}
    return [
        (
            name,
            SettingsError(
                f"model {name!r}: version_labels: {label!r} stands for version {to}, which is not "
                f"served; versions: {', '.join(map(str, versions[name]))}"
            ),
        )
        for (name, label), to in labels.items()
        if to not in versions[name]
    ]


def _check_default(name: str | None, found: Iterable[FoundVersion]) -> None:
    names = dict.fromkeys(one.name for one in found)
    if name is not None and name not in names:
        raise SettingsError(
            f"server.default_model: there is no model {name!r}; models: {', '.join(names)}"
        )


def _raise(errors: list[OperatorError]) -> None:
    if not errors:
        return
    text = "\n".join(error.message for error in errors)
    if all(isinstance(error, SettingsError) for error in errors):
        raise SettingsError(text)
    raise ModelLoadError(text)
