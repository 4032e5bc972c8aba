"""What the tests of the engine share."""

from tests.contract.denormals import keep_denormals

__all__ = ["keep_denormals"]
