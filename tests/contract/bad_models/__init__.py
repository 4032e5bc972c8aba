"""The table of bad models, a file for each format: how each is written, and what is said of it."""

from tests.contract.bad_models import cards, ir, onnx_, python_, tensorflow_, torch_, wrong
from tests.contract.bad_models.case import Case

__all__ = ["CASES", "Case"]

CASES: dict[str, tuple[Case, ...]] = {
    "cards": cards.CASES,
    "ir": ir.CASES,
    "onnx": onnx_.CASES,
    "python": python_.CASES,
    "tensorflow": tensorflow_.CASES,
    "torch": torch_.CASES,
    "wrong": wrong.CASES,
}
