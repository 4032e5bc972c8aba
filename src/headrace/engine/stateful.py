"""A model with state as the rest of the engine sees it: rows first, constants already there.

The card says which inputs are state and on which axis those have their rows; they are moved to axis
0, and back for the library. What every request would repeat is put in here. Models whose cards say
nothing of it are left as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from headrace.engine.backends.contract import Instance, Model
from headrace.errors import InferenceFailed, ModelLoadError
from headrace.settings import ModelSettings, Sequence, StateTensor
from headrace.values import Array, DType, Signature, TensorSpec, converted


class Plan(NamedTuple):
    """What differs between the model and what is made of it.

    ``signature`` is that of the rows-first model; ``moved_in`` and ``moved_out`` name the tensors
    whose rows are on another axis; ``constants`` are whole, ``repeated`` are given once for each
    row.
    """

    signature: Signature
    moved_in: tuple[tuple[str, int], ...]
    moved_out: tuple[tuple[str, int], ...]
    constants: Mapping[str, Array]
    repeated: Mapping[str, Array]


def adapt(model: Model, settings: ModelSettings) -> Model:
    """Put rows first and constants in, where the card names state; else return the model itself.

    Raises:
        ModelLoadError: the card's ``sequence`` does not fit the model; the message names the fix.
    """
    if settings.sequence is None:
        return model
    allowed = settings.batched is not False
    return StatefulModel(model, plan(model.signature, settings.sequence, allowed=allowed))


class StatefulModel:
    """A loaded model behind its plan."""

    def __init__(self, model: Model, planned: Plan) -> None:
        self._model = model
        self._plan = planned
        self.signature = planned.signature
        self.fixed_sizes = model.fixed_sizes
        self.precision = model.precision
        self.integer_bits = model.integer_bits

    def instance(self) -> StatefulInstance:
        """Make one more lane."""
        return StatefulInstance(self._model.instance(), self._plan)


class StatefulInstance:
    """One lane: turns inputs and outputs on its way to the library and back."""

    def __init__(self, instance: Instance, planned: Plan) -> None:
        self._instance = instance
        self._plan = planned
        self._first = planned.signature.inputs[0].name

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Run one batch; see ``contract.Instance``."""
        planned = self._plan
        fed = {**inputs, **planned.constants}
        for name, axis in planned.moved_in:
            fed[name] = np.ascontiguousarray(np.moveaxis(inputs[name], 0, axis))
        for name, constant in planned.repeated.items():
            rows = len(inputs[self._first])
            fed[name] = np.repeat(constant[None], rows, axis=0)
        outputs = dict(self._instance.run(fed))
        for name, axis in planned.moved_out:
            if outputs[name].ndim <= axis:
                raise InferenceFailed(
                    f"output {name!r} has shape {list(outputs[name].shape)}: no axis {axis}, which "
                    "the card names as its batch_axis"
                )
            outputs[name] = np.moveaxis(outputs[name], axis, 0)
        return outputs


def plan(signature: Signature, sequence: Sequence, *, allowed: bool = True) -> Plan:
    """Work out what a card's ``sequence`` makes of a model; ``allowed``: rows may share a run.

    Raises:
        ModelLoadError: it does not fit; the message names the fix.
    """
    _check_names(signature, sequence)
    axes_in = {one.input: one.batch_axis for one in sequence.state}
    axes_out = {one.output: one.batch_axis for one in sequence.state}
    inputs = [spec for spec in signature.inputs if spec.name not in sequence.constants]
    batched = allowed and all(
        len(spec.shape) > axis and not isinstance(spec.shape[axis], int)
        for spec, axis in [
            *((spec, axes_in.get(spec.name, 0)) for spec in inputs),
            *((spec, axes_out.get(spec.name, 0)) for spec in signature.outputs),
        ]
    )
    if not batched:
        axes_in, axes_out = dict.fromkeys(axes_in, 0), dict.fromkeys(axes_out, 0)
    constants: dict[str, Array] = {}
    repeated: dict[str, Array] = {}
    for name, array, each_row in _constants(signature, sequence, batched=batched):
        (repeated if each_row else constants)[name] = array
    made = _moved(signature, sequence, inputs, batched=batched)
    return Plan(
        made,
        tuple((name, axis) for name, axis in axes_in.items() if axis),
        tuple((name, axis) for name, axis in axes_out.items() if axis),
        constants,
        repeated,
    )


def _moved(
    signature: Signature, sequence: Sequence, inputs: list[TensorSpec], *, batched: bool
) -> Signature:
    """The signature with rows first; a state output has the shape of its input, for it becomes it.

    A file often says less of its outputs than of its inputs.
    """
    states = {one.input: _state_spec(signature, one, batched=batched) for one in sequence.state}
    given = {one.output: states[one.input].shape for one in sequence.state}
    return Signature(
        tuple(states.get(spec.name, spec) for spec in inputs),
        tuple(replace(s, shape=given.get(s.name, s.shape)) for s in signature.outputs),
        batched,
    )


def _state_spec(signature: Signature, state: StateTensor, *, batched: bool) -> TensorSpec:
    """A state input with its rows first; every other axis is known, for zeros are made of it."""
    spec = _spec(signature.inputs, state.input)
    shape = list(spec.shape)
    axis = state.batch_axis
    rows = shape.pop(axis) if axis < len(shape) else 1
    if any(not isinstance(dim, int) for dim in shape):
        raise ModelLoadError(
            f"sequence: state input {state.input!r} has shape {list(spec.wire_shape)}; only its "
            f"batch_axis ({axis}) may be free: name another batch_axis, or fix the others in the "
            "model"
        )
    if batched:
        return replace(spec, shape=(rows, *shape))
    # Run one by one: the model's own layout, with one row.
    own = tuple(dim if isinstance(dim, int) else 1 for dim in spec.shape)
    return replace(spec, shape=own)


def _check_names(signature: Signature, sequence: Sequence) -> None:
    for state in sequence.state:
        before, after = _spec(signature.inputs, state.input), _spec(signature.outputs, state.output)
        if before.dtype is not after.dtype or before.dtype is DType.BYTES:
            raise ModelLoadError(
                f"sequence: state input {state.input!r} is {before.dtype.value}, output "
                f"{state.output!r} is {after.dtype.value}; both must be the same, and numbers"
            )
        _cast(f"initial of state {state.input!r}", np.asarray(state.initial), before)
    states = {state.input for state in sequence.state}
    hidden = states | sequence.constants.keys()
    if both := states & sequence.constants.keys():
        raise ModelLoadError(f"sequence: {min(both)!r} is state and constant; it can be only one")
    if all(spec.name in hidden for spec in signature.inputs):
        raise ModelLoadError("sequence: every input is state or constant; requests need one")
    outputs = {state.output for state in sequence.state}
    if all(spec.name in outputs for spec in signature.outputs):
        raise ModelLoadError("sequence: every output is state; answers need one")


def _constants(
    signature: Signature, sequence: Sequence, *, batched: bool
) -> Iterator[tuple[str, Array, bool]]:
    """Name, array, and whether each row needs one of its own."""
    for name, value in sequence.constants.items():
        spec = _spec(signature.inputs, name)
        wanted = np.asarray(value)
        if spec.dtype is DType.BYTES:
            raise ModelLoadError(f"sequence: constant {name!r} is BYTES; only numbers can be one")
        array = _cast(f"constant {name!r}", wanted, spec)
        shape = spec.shape
        free = bool(shape) and not isinstance(shape[0], int)
        each_row = batched and free and array.ndim == len(shape) - 1
        if array.ndim == 0 and not each_row and all(isinstance(dim, int) for dim in shape):
            array = np.full([dim for dim in shape if isinstance(dim, int)], array)
        fitting = shape[1:] if each_row else shape
        if len(fitting) != array.ndim or any(
            isinstance(dim, int) and dim != size
            for dim, size in zip(fitting, array.shape, strict=True)
        ):
            raise ModelLoadError(
                f"sequence: constant {name!r} has shape {list(array.shape)}, the model wants "
                f"{list(spec.wire_shape)}"
            )
        yield name, np.ascontiguousarray(array).reshape(array.shape), each_row


def _cast(what: str, value: Array, spec: TensorSpec) -> Array:
    array = converted(value, spec.dtype)
    if array is None:
        raise ModelLoadError(
            f"sequence: {what} is {value.tolist()}, which is no {spec.dtype.value}"
        )
    return array


def _spec(specs: tuple[TensorSpec, ...], name: str) -> TensorSpec:
    for spec in specs:
        if spec.name == name:
            return spec
    known = ", ".join(spec.name for spec in specs)
    raise ModelLoadError(f"sequence: the model has no {name!r} there; it has {known}")
