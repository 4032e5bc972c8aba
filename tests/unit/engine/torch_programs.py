"""Programs that remember what they were asked before, and some that only look so."""

from __future__ import annotations

import warnings
from typing import Any

import torch

Module: Any = torch.nn.Module  # whose subclasses mypy takes alike with PyTorch and without


class _Own(Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(4))
        self.register_buffer("mask", torch.tensor([True, False, True, False]))
        self.plain = torch.zeros(4)
        self.w = torch.nn.Parameter(torch.ones(4, 4))


class Directly(_Own):
    def forward(self, x: torch.Tensor) -> Any:
        self.seen += 1
        return x + self.seen


class ThroughAView(_Own):
    def forward(self, x: torch.Tensor) -> Any:
        self.seen[0] += 1
        return x + self.seen


class ThroughASlice(_Own):
    def forward(self, x: torch.Tensor) -> Any:
        self.seen[1:3] = x[0, :2]
        return x + self.seen


class ThroughAPart(_Own):
    def forward(self, x: torch.Tensor) -> Any:
        first, _ = self.seen.view(2, 2).unbind()
        first.add_(x.sum())
        return x + self.seen


class ThroughOut(_Own):
    def forward(self, x: torch.Tensor) -> Any:
        old = self.seen.clone()
        torch.add(self.seen, x.sum(0), out=self.seen)
        return x + old


class ThroughDropout(_Own):
    def forward(self, x: torch.Tensor) -> Any:
        same = torch.nn.functional.dropout(self.seen[:2], training=False)
        same += x.sum()
        return x + self.seen


class UnderNoGrad(_Own):
    def forward(self, x: torch.Tensor) -> Any:
        with torch.no_grad():
            y = x @ self.w
            self.seen[0] += 1
        return y + self.seen


class AfterNoGrad(_Own):
    def forward(self, x: torch.Tensor) -> Any:
        with torch.no_grad():
            part = self.seen[:1]
        part += x.sum()
        return x + self.seen


class Plain(_Own):
    def forward(self, x: torch.Tensor) -> Any:
        self.plain += 1
        return x + self.plain


class PlainThroughAView(_Own):
    def forward(self, x: torch.Tensor) -> Any:
        first, _ = self.plain.chunk(2)
        first += x.sum()
        return x + self.plain


class Masks(_Own):
    """Operators that are called `__and__`, `__or__` and `__xor__`."""

    def forward(self, x: torch.Tensor) -> Any:
        up = x > 0
        return (self.mask & up).float() + (self.mask | up).float() + (self.mask ^ up).float()


class Copies(_Own):
    """What is changed was made anew."""

    def forward(self, x: torch.Tensor) -> Any:
        with torch.no_grad():
            y = x @ self.w
            y += self.seen
        y[:, 0] = self.plain[0]
        kept = self.seen.clone()
        kept[1:] += 1
        return torch.nn.functional.relu(y, inplace=True) + kept


class Converts(_Own):
    """What is changed has another dtype, and so memory of its own."""

    def forward(self, x: torch.Tensor) -> Any:
        converted = self.seen.to(torch.float64)
        converted[1:] = 7
        return x @ self.w + converted.to(torch.float32)


class Literal(_Own):
    """An export makes this tensor in each run; a trace, only once."""

    def forward(self, x: torch.Tensor) -> Any:
        fresh = torch.tensor([1.0, 2.0, 3.0, 4.0])
        fresh += x[0]
        return x + fresh


class Branches(_Own):
    def forward(self, x: torch.Tensor) -> Any:
        y = torch.cond(x.sum() > 0, lambda x: x + self.seen, lambda x: x - self.seen, (x,))
        y += 1
        return y


def exported(name: str) -> torch.export.ExportedProgram:
    program: Any = globals()[name]
    return torch.export.export(program().eval(), (torch.zeros(2, 4),))


def traced(name: str) -> Any:
    """Of TorchScript."""
    trace: Any = torch.jit.trace  # for which PyTorch has no types
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that what it makes of some is not what was meant
        return trace(globals()[name]().eval(), torch.zeros(2, 4), check_trace=False)
