"""The result processor: what a model computed becomes what a client asked for.

::

    processor   built once a model from its card; runs once a request: steps, choice, classification
    steps       the steps: plain callables from one tensor to one tensor
"""

from headrace.results.processor import Processor, build

__all__ = ["Processor", "build"]
