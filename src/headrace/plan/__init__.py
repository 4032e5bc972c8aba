"""``headrace plan``: what a model can do within its objective, from what its server measured.

``command`` the grammar, and what it does · ``profile`` what the server measured, of a URL or a
file · ``question`` what is to be planned · ``machine`` lanes, run times and the receiver · ``play``
a rate on the server's own scheduler · ``limit`` the highest rate, the fewest lanes · ``make`` the
plan · ``scaling`` what instances cost each other · ``laws`` closed forms of queueing, for the
explanation · ``estimate`` means and their bounds · ``reasons`` why, in sentences · ``document`` as
JSON · ``show`` as a table.
"""
