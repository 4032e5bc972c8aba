"""Bytes made numbers where the program runs, and of a GPU in the same graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from headrace.engine.backends.torch_tensors import TYPES, Program
from headrace.normalise import Normalised, Step, plan

Change = Callable[[torch.Tensor], torch.Tensor]


def taking_bytes(program: Program, said: Mapping[str, Normalised], device: torch.device) -> Program:
    """A program that takes bytes for the inputs that are named, and is otherwise the same.

    Raises:
        ModelLoadError: what is said does not fit the program.
    """
    if not said:
        return program
    signature, steps = plan(program.signature, said)
    changes = {step.name: _change(step, device) for step in steps}
    names = [spec.name for spec in signature.inputs]

    def run(given: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        pairs = zip(names, given, strict=True)
        return program.run([changes.get(name, _same)(tensor) for name, tensor in pairs])

    return Program(run, signature)


def _same(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


def _change(step: Step, device: torch.device) -> Change:
    factor, offset = (
        torch.tensor(one, dtype=torch.float32, device=device).reshape(step.shape)
        for one in (step.factor, step.offset)
    )

    def change(tensor: torch.Tensor) -> torch.Tensor:
        if step.moved_to is not None:
            tensor = tensor.movedim(-1, step.moved_to)
        # Contiguous, or programs that view their tensors otherwise would not run. And a copy even
        # of numbers, for what came in is others' memory.
        made = tensor.to(torch.float32, copy=True).contiguous().mul_(factor).add_(offset)
        return made.to(TYPES[step.dtype])

    return change
