"""What a card says of inputs that come as files: images, audio, text.

Frozen entries of ``accepts``; ``media`` makes decoders of them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from headrace.group import Group
from headrace.urls import LocalPath

Positive = Annotated[int, Field(ge=1, le=65536)]


class AcceptedImage(Group):
    """An image file as an input of numbers: PNG, JPEG, WebP, GIF, BMP or TIFF, its first frame."""

    kind: Literal["image"] = Field(description="What it is.")
    input: str = Field(description="The model input it becomes.")
    size: tuple[Positive | None, Positive | None] | None = Field(
        default=None,
        description="Height and width; null for one that follows from the other. None: what the "
        "signature says, and as the image is where that is free.",
    )
    resize: Literal["exact", "fit", "crop"] = Field(
        default="exact",
        description="How it gets that size. exact: stretched. fit: all of it, with a border of "
        "`pad`. crop: what is around its middle.",
    )
    short_side: Positive | None = Field(
        default=None,
        description="For crop: the shorter side is made this long before. None: as short as the "
        "size allows.",
    )
    pad: Annotated[int, Field(ge=0, le=255)] = Field(
        default=0, description="For fit: the value of the border, before `scale`."
    )
    filter: Literal["nearest", "bilinear", "bicubic", "lanczos"] = Field(
        default="bilinear", description="How pixels are computed when the size changes."
    )
    color: Literal["rgb", "bgr", "gray"] = Field(
        default="rgb", description="The order of the channels. Transparent becomes white."
    )
    layout: Literal["nchw", "nhwc"] | None = Field(
        default=None, description="Where the channels are. None: found from the signature."
    )
    scale: float = Field(
        default=1.0,
        description="What the model gets is `(value * scale - mean) / std`, of values from 0 to "
        "255.",
    )
    mean: tuple[float, ...] = Field(
        default=(0.0,), description="See `scale`; one, or one a channel in the order of `color`."
    )
    std: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        default=(1.0,), description="See `scale`; one, or one a channel."
    )
    # Pillow itself warns from 89 million pixels on.
    max_mpixels: Annotated[float, Field(gt=0, le=89)] = Field(
        default=50.0,
        description="An image of more million pixels is refused before it is unpacked.",
    )


class AcceptedAudio(Group):
    """A sound file as an input of samples: WAV, FLAC, Ogg or AIFF."""

    kind: Literal["audio"] = Field(description="What it is.")
    input: str = Field(description="The model input it becomes: samples, or channels of samples.")
    rate_hz: Annotated[int, Field(ge=1000, le=384_000)] = Field(
        description="The sample rate of the model; files of another are resampled."
    )
    mono: bool = Field(default=True, description="Whether channels are averaged into one.")
    samples: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="How many samples there must be. None: what the signature says."
    )
    length: Literal["refuse", "pad_or_cut"] = Field(
        default="refuse",
        description="What happens to a file of another length than `samples`. pad_or_cut: silence "
        "at its end, or its end is left out.",
    )
    max_s: Annotated[float, Field(gt=0, le=3600)] = Field(
        default=60.0, description="A longer file is refused, in seconds."
    )


class AcceptedText(Group):
    """Text as tokens, or as it is for an input of BYTES."""

    kind: Literal["text"] = Field(description="What it is.")
    input: str = Field(
        default="text",
        description="With a tokenizer: what clients call it. Without: the model input, of BYTES.",
    )
    tokenizer: LocalPath | None = Field(
        default=None,
        description="A `tokenizer.json` of Hugging Face's tokenizers (relative to the file saying "
        "so). None: the text itself is the input.",
    )
    max_tokens: Annotated[int, Field(ge=1, le=65536)] | None = Field(
        default=None, description="Longer text is cut. None: what the signature or tokenizer says."
    )
    ids: str = Field(default="input_ids", description="The model input of the tokens' numbers.")
    mask: str | None = Field(
        default=None,
        description="The one of ones where there is a token. None: `attention_mask`, where the "
        "model has that.",
    )
    types: str | None = Field(
        default=None,
        description="The one of the tokens' segments. None: `token_type_ids`, where the model has "
        "that.",
    )


AcceptedInput = Annotated[AcceptedImage | AcceptedAudio | AcceptedText, Field(discriminator="kind")]
"""One entry of a card's ``accepts``."""
