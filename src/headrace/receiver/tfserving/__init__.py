"""TensorFlow Serving's API.

Fronts: ``grpc``, ``rest``, ``reload``. Behind them: ``status`` and ``signature`` what they tell
of models · ``examples`` and ``results`` how Classify and Regress ask one · ``tensors``, ``json``
and ``written`` how it writes them.
"""
