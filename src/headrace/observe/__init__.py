"""Signals.

``histogram``, ``moments``, ``requests``, ``runs``, ``phases`` and ``slowest`` (cheap) · ``metrics``
what is counted, in ``families``, for Prometheus, which reads a ``page`` · ``tfserving`` the same in
TensorFlow Serving's words · ``lives`` states, memory and load times · ``processes`` what each
takes, ``gpu`` of that too · ``together`` what several receivers have counted · ``logs``.
"""
