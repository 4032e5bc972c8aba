"""The load generator: drives a server over the wire and does not fool itself.

What to do: ``arrivals`` when to send (pure) · ``plan`` what to send where, open or closed loop ·
``payload`` requests from arrays, arrays from answers.

Doing it: ``run`` starts a sender process and waits for it · ``parcel`` what crosses to it and back
· ``sender`` the process · ``generator`` the two loops · ``pool`` connections and their sockets ·
``codec`` the seam to the protocols · ``http1``, and ``http2`` with ``frames`` and ``hpack``: the
protocols, without sockets.

What came of it: ``result`` one row a request, and the names of outcomes · ``report`` the numbers,
and whether they can be believed.

Nothing of the server is imported but ``errors`` and ``values``: it is reached over the wire.
"""
