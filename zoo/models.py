"""From files to folders that ``headrace serve`` takes: ``1/model.onnx`` and ``card.yaml``."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnxruntime

from zoo import sources
from zoo.download import Shelf, alone
from zoo.errors import UnknownModel
from zoo.sources import Source

Take = Callable[[Source], Path]
Make = Callable[[Take, Path], None]
"""Puts a model into a folder, ``1/`` being there; takes the files it needs from a shelf."""

ALPHABET_NAME = "alphabet.txt"

_HERE = Path(__file__).parent
_FINGERPRINT_NAME = ".fingerprint"
_LABELS_NAME = "labels.txt"
_TOKENIZER_NAME = "tokenizer.json"


@dataclass(frozen=True, slots=True)
class Model:
    """One model of the zoo; ``sources`` is empty for one with random weights."""

    name: str
    about: str
    make: Make
    sources: tuple[Source, ...] = ()


def fetch(names: Sequence[str], shelf: Shelf, to: Path | None = None) -> list[Path]:
    """Make models ready in ``to`` (the shelf's own ``models`` folder) and return their folders.

    What is there already, made by this version of the zoo, is left as it is.

    Raises:
        UnknownModel: before anything is fetched.
        ZooError: as ``Shelf.take``; what was made before it stays.
    """
    unknown = [name for name in names if name not in MODELS]
    if unknown:
        raise UnknownModel(
            f"the zoo has no {', '.join(map(repr, unknown))}; it has {', '.join(MODELS)}"
        )
    root = shelf.folder / "models" if to is None else to
    return [_make(MODELS[name], shelf, root) for name in names]


def _make(model: Model, shelf: Shelf, root: Path) -> Path:
    folder = root / model.name
    fingerprint = _fingerprint()
    with alone(root / ".making" / model.name) as making:
        if _read(folder / _FINGERPRINT_NAME) != fingerprint:
            with tempfile.TemporaryDirectory(dir=making) as scratch:
                made = Path(scratch) / "made"
                (made / "1").mkdir(parents=True)
                model.make(shelf.take, made)
                shutil.copyfile(_HERE / "cards" / f"{model.name}.yaml", made / "card.yaml")
                (made / _FINGERPRINT_NAME).write_text(fingerprint)
                if folder.exists():
                    folder.rename(Path(scratch) / "old")
                made.rename(folder)
    return folder


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _fingerprint() -> str:
    """What the zoo is made of: when any of it changes, its models are made anew."""
    files = sorted((*_HERE.glob("*.py"), *_HERE.glob("cards/*.yaml")))
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


# -- what is done for each -------------------------------------------------------------------------


def _as_shipped(source: Source) -> Make:
    def make(take: Take, folder: Path) -> None:
        shutil.copyfile(take(source), folder / "1" / "model.onnx")

    return make


def _minilm_text(take: Take, folder: Path) -> None:
    """As shipped; the tokenizer comes from another package."""
    shutil.copyfile(take(sources.MINILM), folder / "1" / "model.onnx")
    shutil.copyfile(take(sources.MINILM_TOKENIZER), folder / _TOKENIZER_NAME)


def _text_recogniser(take: Take, folder: Path) -> None:
    """As shipped; the alphabet, which is in the file's own metadata, is put beside it as text."""
    model = take(sources.TEXT_RECOGNISER)
    shutil.copyfile(model, folder / "1" / "model.onnx")
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    characters = session.get_modelmeta().custom_metadata_map["character"].split("\n")
    # Class 0 is "nothing here"; the space comes after the list.
    lines = ["", *characters, " "]
    (folder / ALPHABET_NAME).write_text("\n".join(lines), encoding="utf-8")


def _efficientnet_lite0(take: Take, folder: Path) -> None:
    from zoo import networks, torch_file  # noqa: PLC0415 - onnx is needed for no other model

    weights = torch_file.read(take(sources.EFFICIENTNET_LITE0))
    networks.efficientnet_lite0(weights, folder / "1" / "model.onnx")
    names: dict[str, str] = json.loads(take(sources.IMAGENET_NAMES).read_text("utf-8"))
    lines = [names[str(index)] for index in range(networks.CLASSES)]
    (folder / _LABELS_NAME).write_text("\n".join(lines), encoding="utf-8")


def _resnet50(take: Take, folder: Path) -> None:  # noqa: ARG001 - it takes nothing
    from zoo import networks  # noqa: PLC0415 - as above

    networks.resnet50(folder / "1" / "model.onnx")


def _mlp(take: Take, folder: Path) -> None:  # noqa: ARG001 - the same
    from zoo import networks  # noqa: PLC0415 - as above

    networks.mlp(folder / "1" / "model.onnx")


_ALL = (
    Model(
        "pp-ocr-rec",
        "reads a line of text in an image (PP-OCRv4)",
        _text_recogniser,
        (sources.TEXT_RECOGNISER,),
    ),
    Model(
        "silero-vad",
        "hears whether somebody speaks, 32 ms at a time",
        _as_shipped(sources.VOICE_ACTIVITY),
        (sources.VOICE_ACTIVITY,),
    ),
    Model(
        "minilm-int8",
        "sentence embeddings, 8-bit weights, up to 128 tokens",
        _as_shipped(sources.MINILM),
        (sources.MINILM,),
    ),
    Model(
        "minilm-text",
        "the same file with its tokenizer: takes sentences as they are",
        _minilm_text,
        (sources.MINILM, sources.MINILM_TOKENIZER),
    ),
    Model(
        "minilm-128",
        "the same file, always at 128 tokens, for benchmarks",
        _as_shipped(sources.MINILM),
        (sources.MINILM,),
    ),
    Model(
        "efficientnet-lite0",
        "names what is in a photo (ImageNet), 224x224",
        _efficientnet_lite0,
        (sources.EFFICIENTNET_LITE0, sources.IMAGENET_NAMES),
    ),
    Model("resnet50", "random weights, for speed only", _resnet50),
    Model("mlp", "784-128-10, random weights, for speed only", _mlp),
)
MODELS = {model.name: model for model in _ALL}
