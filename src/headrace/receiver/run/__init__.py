"""From a request to its outputs, whichever front it came through.

``dispatch`` a request, which is ``work`` for ``pump``: batches, engine, outcomes · ``turns`` models
that share a device · ``validate`` inputs against a signature · ``shapes`` who may share a batch ·
``departures`` clients that left · ``notes`` what is noted of batches: ``traffic`` which shapes are
common, ``reservoir`` a few requests kept, ``sampling`` what is kept of them · ``sequences`` models
with a memory, ``sequence_table`` what they remember, ``owners`` which version has which sequence ·
``steering`` how many lanes take batches at a time · ``gauges`` what metrics read · ``compose`` all
of it for one version.
"""
