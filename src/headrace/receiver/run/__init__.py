"""From a request to its outputs, whichever front it came through.

``dispatch`` a request · ``pump`` batches, engine, outcomes · ``turns`` models that share a device ·
``validate`` inputs against a signature · ``shapes`` who may share a batch, ``traffic`` which of
them are common · ``departures`` clients that left · ``sequences`` models with a memory,
``sequence_table`` what they remember · ``reservoir`` a few requests kept, ``sampling`` what is kept
of them · ``steering`` how many lanes take batches at a time · ``gauges`` what metrics read.
"""
