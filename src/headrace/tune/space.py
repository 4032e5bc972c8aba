"""What there is to choose from: backends, precisions, threads, instances, batch caps. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from headrace.settings import MOST_INSTANCES, BackendName, Precision

# Which arithmetic a backend can be asked for besides that of the model itself.
_MORE: Mapping[BackendName, tuple[Precision, ...]] = {
    BackendName.OPENVINO: (Precision.BF16, Precision.INT8),
    BackendName.TORCH: (Precision.BF16,),
    BackendName.INDUCTOR: (Precision.BF16,),
}
# Of this some layers may be computed in f32.
MIXES = (BackendName.OPENVINO, Precision.BF16)
# These compile for so long that it is told, and has an end.
_COMPILERS = frozenset({BackendName.INDUCTOR})
# What computes in bf16, as processors call it; without it every product is made of several others.
_BF16_FEATURES = ("amx_bf16", "avx512_bf16", "bf16")
# A run shorter than this is as long as the library's call, and ``auto`` tries every backend.
_SHORT_S = 0.0005


@dataclass(frozen=True, slots=True)
class Variant:
    """What is compiled and measured on its own."""

    backend: BackendName
    precision: Precision
    threads: int
    f32_layers: int = 0

    @property
    def arithmetic(self) -> str:
        """How it computes, whatever the threads."""
        but = f" ({self.f32_layers} in f32)" if self.f32_layers else ""
        return f"{self.backend.value} {self.precision.value}{but}"

    @property
    def compiles(self) -> bool:
        """Whether loading it may take a minute, the first time."""
        return self.backend in _COMPILERS

    def __str__(self) -> str:
        return f"{self.arithmetic}, {count(self.threads, 'thread')}"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to serve the model: all that is tuned."""

    backend: BackendName
    precision: Precision
    instances: int
    threads: int
    max_batch: int
    linger_ms: float = 0.0
    f32_layers: int = 0

    @property
    def variant(self) -> Variant:
        """What of it is compiled."""
        return Variant(self.backend, self.precision, self.threads, self.f32_layers)

    @property
    def cores(self) -> int:
        """How many cores it wants at most."""
        return self.instances * self.threads

    @property
    def cost(self) -> tuple[int, bool, float, int]:
        """What is simpler or cheaper is less: fewer cores, the model's own arithmetic, a cap."""
        return self.cores, self.precision is not Precision.F32, self.linger_ms, self.max_batch

    def __str__(self) -> str:
        waits = f", linger {self.linger_ms:g} ms" if self.linger_ms else ""
        return (
            f"{self.variant.arithmetic}, {self.instances} x {count(self.threads, 'thread')}, "
            f"batches to {self.max_batch}{waits}"
        )

    def flags(self) -> tuple[str, ...]:
        """As ``headrace serve`` takes it."""
        said = {
            "backend": self.backend.value,
            "precision": self.precision.value,
            "f32-layers": self.f32_layers or None,
            "instances": self.instances,
            "threads": self.threads,
            "max-batch": self.max_batch,
        }
        told = {name: value for name, value in said.items() if value is not None}
        return tuple(word for name, value in told.items() for word in (f"--{name}", str(value)))


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What was not tried, or came to nothing, and why."""

    what: str
    why: str


def together(left_out: Iterable[LeftOut]) -> tuple[LeftOut, ...]:
    """What is left out for the same reason, told once."""
    by_why: dict[str, list[str]] = {}
    for one in left_out:
        by_why.setdefault(one.why, []).append(one.what)
    return tuple(LeftOut("; ".join(whats), why) for why, whats in by_why.items())


@dataclass(frozen=True, slots=True)
class Space:
    """The variants to measure, and what is left out of them."""

    variants: tuple[Variant, ...]
    left_out: tuple[LeftOut, ...]


def make_space(
    backends: Sequence[BackendName],
    features: Collection[str],
    cores: int,
    *,
    keeps: bool = True,
    f32_layers: int = 0,
) -> Space:
    """List the variants of a model that these backends can read, on such a processor.

    ``keeps``: what is compiled stays in a folder, for servers to take. ``f32_layers`` are those
    that somebody has set, of what mixes.
    """
    variants: list[Variant] = []
    left_out: list[LeftOut] = []
    native = any(feature in features for feature in _BF16_FEATURES)
    for backend in backends:
        if backend in _COMPILERS and not keeps:
            why = "every start would compile anew: set server.cache_dir, and cache: true"
            left_out.append(LeftOut(backend.value, why))
            continue
        precisions = (Precision.F32, *_MORE.get(backend, ()))
        # There may not be the time to compile all: first what should be fastest.
        for precision in reversed(precisions) if backend in _COMPILERS else precisions:
            if precision is Precision.BF16 and not native:
                why = "this processor has no bf16 of its own (no AMX, no AVX512_BF16)"
                left_out.append(LeftOut(f"{backend.value} bf16", f"{why}: it would be slower"))
                continue
            layers = f32_layers if (backend, precision) == MIXES else 0
            numbers = steps(min(cores, MOST_INSTANCES))
            variants += [Variant(backend, precision, threads, layers) for threads in numbers]
    return Space(tuple(variants), tuple(left_out))


def steps(most: int) -> tuple[int, ...]:
    """1, 2, 4 and so on up to ``most``, which is among them."""
    found = []
    step = 1
    while step < most:
        found.append(step)
        step *= 2
    return (*found, max(most, 1))


def most_lanes(cores: int, threads: int) -> int:
    """How many instances of so many threads there are cores for, and a server takes."""
    return max(min(cores // threads, MOST_INSTANCES), 1)


def candidates(
    variant: Variant, sizes: Sequence[int], cores: int, linger_ms: float = 0.0
) -> Iterator[Candidate]:
    """The ways to serve with a variant, with each of these sizes as the cap of batches."""
    for instances in steps(most_lanes(cores, variant.threads)):
        for size in sizes:
            yield Candidate(
                variant.backend, variant.precision, instances, variant.threads, size, linger_ms,
                variant.f32_layers,
            )  # fmt: skip


def untuned(
    one_row_s: Mapping[BackendName, float], cores: int, max_batch: int, linger_ms: float = 0.0
) -> Candidate:
    """What ``headrace serve`` takes for a model of which nothing else is set.

    ``one_row_s`` are runs of one row on one thread, of the backends that ``auto`` tries, in their
    order.

    Raises:
        ValueError: there is none.
    """
    if not one_row_s:
        raise ValueError("no backend has run the model on one thread")
    first = next(iter(one_row_s))
    if one_row_s[first] <= _SHORT_S:
        first = min(one_row_s, key=one_row_s.__getitem__)
    return Candidate(first, Precision.F32, most_lanes(cores, 1), 1, max_batch, linger_ms)


def count(number: int, what: str) -> str:
    """A number and its noun."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
