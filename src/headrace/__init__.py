"""Headrace serves deep-learning models under heavy concurrency, tuned to a latency objective.

``headrace serve model.onnx`` on the command line; see ``app`` for how it is composed.
"""

from headrace.errors import HeadraceError

__all__ = ["HeadraceError", "__version__"]

__version__ = "0.1.0"
