"""Signals: ``histogram`` (cheap), ``metrics`` (what is counted, and Prometheus), ``logs``."""
