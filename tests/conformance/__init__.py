"""Real clients of others against a live server: every method they have, and what became of it.

``python -m tests.conformance`` prints the table that ``docs/conformance.md`` shows, and writes it
there with ``--write``; the tests keep it true.
"""
