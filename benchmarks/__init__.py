"""What Headrace reaches, measured against the bare backend in the same run.

``python -m benchmarks`` runs all, ``python -m benchmarks NAME...`` some. Each prints a table
and writes ``benchmarks/results/NAME.json``. The load comes from a process of its own.

::

    tiny         what a request costs: a tiny model over gRPC and REST, at 1, 64, 256 concurrent
    real         real models against the bare backend loop with the same threads
    overload     Poisson arrivals at 1.2x and 2x of what the machine can do
    json_        large JSON: how fast it is decoded, and what small calls beside it notice
    failures     kill -9 of an engine and SIGTERM, both under load
    soak         ten minutes at 80 % load: the memory of every process
    gpu          ResNet-50 and BERT-base on a GPU against the bare CUDA-graph loop
    start        from the start of the process to the first answer

    figures      one measured number, what it should be, and the table of them
    gpu_models   those two, and gpu_bare that loop, in a process of its own
    h2load       the load generator for closed loops
    bare         the bare backend loop, in a process of its own
    models       the models measured, and real inputs for them
    machine      what this was measured on
"""
