"""TensorFlow Serving's API.

Fronts: ``grpc``, ``rest``, ``reload``. Behind them: ``status`` and ``signature`` what they tell
of models · ``examples`` and ``results`` how Classify and Regress ask one · ``tensors`` and
``json`` how it writes them.
"""
