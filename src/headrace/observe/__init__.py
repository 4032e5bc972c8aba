"""Signals: ``histogram`` and ``runs`` (cheap), ``metrics`` (all, and Prometheus), ``logs``."""
