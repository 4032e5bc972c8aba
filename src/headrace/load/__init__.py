"""The load generator: drives a server over the wire and does not fool itself.

What to do: ``arrivals`` when to send (pure) · ``plan`` what to send where, open or closed loop ·
``share`` one plan for several senders.

What to send: ``address`` where a server is · ``apis`` the protocols as a client sees them · ``ask``
what a model takes, and whether it answers · ``synthetic`` requests made up from that ·
``data`` real ones from files · ``payload`` the requests of a target.

Doing it: ``run`` starts the sender processes and waits for them · ``parcel`` what crosses to one
and back · ``rows`` the memory it shares with its caller · ``sender`` the process · ``generator``
the two loops · ``pool`` connections and their sockets · ``codec`` the seam to the protocols ·
``http1`` with ``chunked``, and ``http2`` with ``frames`` and ``hpack``: HTTP, without sockets ·
``headers`` which a user may give.

What came of it: ``result`` one row a request, and the names of outcomes · ``look`` the last moments
of a run that goes on · ``report`` the numbers, and whether they can be believed · ``verdict``
until when, and what is wrong · ``objective`` whether a run kept it, or still can (pure) ·
``search`` which rate to try next (pure) · ``quiet`` whether a server has done with what was sent
before (pure) · ``join`` runs as one · ``pairs`` two against each other
(pure) · ``scenario`` MLPerf's rules (pure) · ``page`` all of it as HTML.

For drivers of others: ``asker`` requests at another thread's demand · ``loadgen`` MLCommons'.

``command``: all of it as ``headrace load``.

Nothing of the server is imported but ``errors`` and ``values``: it is reached over the wire.
"""
