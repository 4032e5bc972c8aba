"""The inference engine: a process for one version of one model, and the receiver's way to it.

``client`` the receiver's side: batches handed over, answers heard, ``awake`` for those that are
here at once · ``assembly`` puts batches in
``slots``, the shared memory · ``messages`` what crosses the socket · ``worker`` the process, forked
in the ``nursery``, ``border`` its beginning and what is told of its end · ``checks`` look at a
model's files before a library does · ``choice`` picks the backend · ``stateful`` puts rows first in
models with a memory, ``normalised`` makes numbers of bytes · ``servable`` refuses what nobody could
be answered by · ``warmup`` runs and times everything first, at ``item_shapes``, with ``timing``,
until ``size_search`` has found the largest batch that pays, and ``ties`` which axes follow which,
``rewarm`` what counts of that the next time, ``seen_shapes`` what clients sent · ``preparing`` does
all that, or what ``cache`` and ``built`` kept of an earlier start, and keeps ``moving`` beside
models that serve · ``own_labels`` the names of classes that are in the file, ``own_signature`` that
of a SavedModel's signature · ``reception``
receivers come and go, each a ``connection`` · ``instances`` the lanes, of which a ``gate`` lets
some take batches, ``spread`` over the instances, ``stages`` those of one instance, which keep to
their cores by ``affinity``; on a ``board`` receivers see what others have there · ``backends`` the
libraries that run models ·
``shadow`` runs what another version ran, kept in ``samples``, and asks ``agreement`` how far the
answers are apart.
"""
