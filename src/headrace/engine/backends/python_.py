"""A Python file with a class, for everything that no library reads.

::

    class Model:
        # Name: (datatype or numpy dtype, shape), None: free. Without both, the card's `signature`.
        inputs = {"x": ("FP32", [None, 3])}
        outputs = {"y": ("FP32", [None])}
        threadsafe = True  # one object for all instances; else one each

        def load(self, folder): ...  # optional: a Path, the file's own folder
        def preprocess(self, item): ...  # optional: one row's inputs, to what ``infer`` gets of it
        def infer(self, batch): ...  # arrays by name, to arrays by name
        def postprocess(self, item): ...  # optional: one row of what ``infer`` gave, to outputs

It runs in the engine's own process. What it raises fails its batch, ``sys.exit`` too; if it ends
the process, only that engine is lost.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import structlog

from headrace.declared import DeclaredSignature
from headrace.engine.backends.failures import RUN_ERRORS
from headrace.errors import HeadraceError, InferenceFailed, ModelLoadError
from headrace.settings import ModelSettings, Precision
from headrace.values import Array, Dim, DType, Signature, TensorSpec

_log = structlog.get_logger("headrace.engine")

# A name that no package has; dataclasses and the like look their module up by it.
_MODULE = "headrace_user_model"


def load(path: Path, settings: ModelSettings) -> PythonModel:
    """Run a Python file and make an object of its class; see ``contract.Load``."""
    if path.suffix != ".py":  # or an order might have any file's text run
        raise ModelLoadError(f"cannot load {path}: backend python runs files that end in .py")
    if settings.precision is not Precision.F32:
        raise ModelLoadError(
            f"cannot load {path}: a Python file computes as it is written, precision "
            f"{settings.precision.value} is not to be had: leave it out"
        )
    try:
        kind = _find_class(_execute(path))
        signature = _signature(kind, settings.signature)
        model = PythonModel(path, kind, signature)
        model.prepare()
    except HeadraceError as error:
        raise ModelLoadError(f"cannot load {path}: {error.message}") from error
    # The border of somebody else's code: whatever it raises while it is loaded, sys.exit too.
    except BaseException as error:
        _log.exception("load_failed", path=str(path))
        raise ModelLoadError(f"cannot load {path}: {_explain(error, path)}") from error
    return model


class PythonModel:
    """The class of a file, and the objects made of it."""

    fixed_sizes = False
    integer_bits = 64
    precision = "f32"

    def __init__(self, path: Path, kind: type[Any], signature: Signature) -> None:
        self._path = path
        self._kind = kind
        self._spare: Any = None
        self.signature = signature

    def prepare(self) -> None:
        """Make the first object, so that what is wrong with it is told now."""
        self._spare = self._make()

    def instance(self) -> PythonInstance:
        """Make one more lane: over the one object, or over one of its own."""
        made = self._make() if self._spare is None else self._spare
        if not getattr(self._kind, "threadsafe", False):
            self._spare = None
        return PythonInstance(made, self.signature, self._path)

    def _make(self) -> Any:
        made = self._kind()
        if hasattr(made, "load"):
            made.load(self._path.parent)
        return made


class PythonInstance:
    """One lane: calls the object, and checks what it answers."""

    def __init__(self, made: Any, signature: Signature, path: Path) -> None:
        self._infer: Callable[[dict[str, Array]], Any] = made.infer
        self._before: Callable[[dict[str, Array]], Any] | None = getattr(made, "preprocess", None)
        self._after: Callable[[dict[str, Array]], Any] | None = getattr(made, "postprocess", None)
        self._signature = signature
        self._path = path
        self._has_run = False
        self._raised: set[tuple[type[BaseException], str, int | None]] = set()

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Run one batch; see ``contract.Instance``."""
        batch = {name: _read_only(array) for name, array in inputs.items()}
        try:
            if self._before is not None:
                batch = _each_row(self._before, "preprocess", batch)
            outputs = self._infer(batch)
            if self._after is not None:
                outputs = _each_row(self._after, "postprocess", _named(outputs, "infer"))
            named = _named(outputs, "infer" if self._after is None else "postprocess")
            answer = {spec.name: _checked(spec, named) for spec in self._signature.outputs}
        except RUN_ERRORS:
            raise
        # The border of somebody else's code, and of what its objects do while they are looked at.
        # sys.exit and cancellations in a thread would end that thread only, and nobody would wait
        # for batches any more.
        except BaseException as error:
            self._tell(error)
            raise InferenceFailed(_explain(error, self._path)) from error
        self._has_run = True
        return answer

    def _tell(self, error: BaseException) -> None:
        """Log what was raised; until it has run, once for each place: warm-up tries many inputs."""
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = type(error), last.filename, last.lineno
        if self._has_run or place not in self._raised:
            _log.error("model_raised", path=str(self._path), exc_info=error)
        if not self._has_run:
            self._raised.add(place)


def _execute(path: Path) -> ModuleType:
    """Run a file as a module; files beside it can be imported. Nothing is written beside it.

    Bytecode there would be a change of the model, to whoever watches its folder.
    """
    sys.dont_write_bytecode = True
    code = compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    module = ModuleType(_MODULE)
    module.__file__ = str(path)
    sys.modules[_MODULE] = module
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    exec(code, vars(module))  # noqa: S102 - what this backend is for
    return module


def _find_class(module: ModuleType) -> type[Any]:
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and value.__module__ == _MODULE and hasattr(value, "infer")
    ]
    named = [kind for kind in classes if kind.__name__ == "Model"] or classes
    if len(named) != 1:
        found = ", ".join(kind.__name__ for kind in classes) or "none"
        raise ModelLoadError(
            f"it must have one class with `infer`, or one called Model; it has: {found}"
        )
    return named[0]


def _signature(kind: type[Any], carded: DeclaredSignature | None) -> Signature:
    signature = _own_signature(kind) if carded is None else _carded_signature(kind, carded)
    free = signature.batched
    if not free and (hasattr(kind, "preprocess") or hasattr(kind, "postprocess")):
        raise ModelLoadError(
            f"{kind.__name__}: preprocess and postprocess work on rows: every shape must begin "
            "with None"
        )
    return signature


def _own_signature(kind: type[Any]) -> Signature:
    inputs, outputs = _specs(kind, "inputs"), _specs(kind, "outputs")
    free = all(spec.shape and spec.shape[0] is None for spec in (*inputs, *outputs))
    return Signature(inputs, outputs, batched=free)


def _carded_signature(kind: type[Any], carded: DeclaredSignature) -> Signature:
    declared = [side for side in ("inputs", "outputs") if hasattr(kind, side)]
    if declared:
        raise ModelLoadError(
            f"{kind.__name__}.{declared[0]} is declared, and the card has a `signature`: keep one"
        )
    return carded.as_signature()


def _specs(kind: type[Any], side: str) -> tuple[TensorSpec, ...]:
    declared = getattr(kind, side, None)
    if not isinstance(declared, Mapping) or not declared:
        raise ModelLoadError(
            f'{kind.__name__}.{side} must be declared, as in {side} = {{"x": ("FP32", [None, 3])}},'
            " or `signature` of its card"
        )
    return tuple(_spec(f"{kind.__name__}.{side}", name, it) for name, it in declared.items())


def _spec(where: str, name: Any, declared: Any) -> TensorSpec:
    try:
        dtype, shape = declared
        return TensorSpec(_name(name), _dtype(dtype), tuple(map(_dim, shape)))
    except (TypeError, ValueError, KeyError) as error:
        raise ModelLoadError(
            f"{where}[{name!r}] is {declared!r}, and must be a datatype and a shape, as in "
            f'("FP32", [None, 3]): {error}'
        ) from error


def _name(name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise ValueError("its name is no text")
    return name


def _dtype(dtype: Any) -> DType:
    names = DType.__members__
    return names[dtype] if isinstance(dtype, str) and dtype in names else DType.of(np.dtype(dtype))


def _dim(dim: Any) -> Dim:
    if dim is None or dim == -1:
        return None
    if isinstance(dim, bool) or not isinstance(dim, int) or dim < 0:
        raise ValueError(f"{dim!r} is no size")
    return dim


def _read_only(array: Array) -> Array:
    """The same memory: a batch that is tried again must be what it was."""
    view = array.view()
    view.flags.writeable = False
    return view


def _each_row(
    call: Callable[[dict[str, Array]], Any], name: str, batch: Mapping[str, Any]
) -> dict[str, Any]:
    """Call it with every row, and put the rows that it gives together."""
    columns = {key: _array(column) for key, column in batch.items()}
    if any(not column.ndim for column in columns.values()):
        raise InferenceFailed("infer gave an array without rows, which postprocess works on")
    rows = zip(*columns.values(), strict=True)
    items = [_named(call(dict(zip(columns, row, strict=True))), name) for row in rows]
    return {key: _stack(key, items) for key in (items[0] if items else columns)}


def _stack(name: str, items: Sequence[Mapping[str, Any]]) -> Array:
    if not items:
        raise InferenceFailed("infer gave no rows, which postprocess works on")
    try:
        return np.stack([_array(item[name]) for item in items])
    except (KeyError, ValueError) as error:
        raise InferenceFailed(f"{name!r} differs between the rows of a batch: {error}") from error


def _array(value: Any) -> Array:
    """An array of it; of strings one of objects, for numpy's own lose zeros at their ends."""
    if isinstance(value, np.ndarray):
        return value
    array = np.asarray(value)
    return np.asarray(value, object) if array.dtype.kind in "SU" else array


def _named(value: Any, function: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InferenceFailed(
            f"{function} must return a dict of arrays by name; it returned {type(value).__name__}"
        )
    return value


def _checked(spec: TensorSpec, outputs: Mapping[str, Any]) -> Array:
    """An output as the class declared it; whether it has the rows of the batch, others check.

    Only where requests share runs it must: who filters may give fewer.

    Raises:
        InferenceFailed: it is not there, or of another dtype or shape.
    """
    if spec.name not in outputs:
        raise InferenceFailed(f"no output {spec.name!r}; there is: {', '.join(map(str, outputs))}")
    array, expected = _array(outputs[spec.name]), list(spec.wire_shape)
    fits = len(expected) == array.ndim and all(
        size in {-1, there} for size, there in zip(expected, array.shape, strict=True)
    )
    if not fits:
        raise InferenceFailed(
            f"output {spec.name!r} has the shape {list(array.shape)}, and should have {expected}"
        )
    if spec.dtype is DType.BYTES:
        return _strings(spec.name, array)
    if array.dtype != spec.dtype.numpy:
        raise InferenceFailed(
            f"output {spec.name!r} is {array.dtype}, and declared {spec.dtype.value}: return it "
            f"`.astype({spec.dtype.numpy.name!r})`"
        )
    return np.ascontiguousarray(array) if array.ndim else array


def _strings(name: str, array: Array) -> Array:
    changed = np.empty(array.size, object)
    changed[:] = list(_encoded(name, array.flat))
    return changed.reshape(array.shape)


def _encoded(name: str, elements: Iterable[Any]) -> Iterable[bytes]:
    for element in elements:
        if isinstance(element, str):
            yield element.encode()
        elif isinstance(element, bytes):
            yield bytes(element)
        else:
            raise InferenceFailed(
                f"output {name!r} is declared BYTES and has a {type(element).__name__} in it"
            )


def _explain(error: BaseException, path: Path) -> str:
    """The last line of a traceback, and the last place in the user's folder that it names."""
    if isinstance(error, OSError) and error.filename == str(path):
        return f"it cannot be read: {error.strerror}"
    said = traceback.format_exception_only(error)[-1].strip()
    frames = traceback.extract_tb(error.__traceback__)
    places = [f for f in frames if Path(f.filename).is_relative_to(path.parent)]
    if isinstance(error, SyntaxError):
        return f"{said} ({error.filename}:{error.lineno})"
    where = f" ({places[-1].filename}:{places[-1].lineno})" if places else ""
    return f"{said[:500]}{where}"
