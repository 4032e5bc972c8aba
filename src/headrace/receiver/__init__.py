"""The request receiver: the way in and out.

In Envoy: ``main`` what Envoy loads · ``runtime`` composes what the supervisor says into what serves
· ``asgi`` one request: body, front, answer, count · ``routes`` paths to fronts · ``exchange`` what
a front works with · ``http`` and ``grpc`` the two framings · ``stream``, ``frames`` gRPC of many
messages · ``compression`` of bodies · ``health``, ``reflection`` what gRPC's own tools ask ·
``oip_grpc``, ``oip_stream``, ``oip_rest``, ``generate_stream``,
``tfserving_grpc``, ``tfserving_rest``, ``predict`` the fronts · ``oip_repository``,
``tfserving_reload`` orders to load and unload, ``model_files`` what comes with them ·
``metadata``, ``tfserving_status``, ``tfserving_signature`` what they tell of models · ``tensors``,
``json_tensor``, ``protobuf``, ``wire``, ``tfserving_tensors``, ``tfserving_json`` their codecs ·
``tfserving_examples``, ``tfserving_results`` how Classify and Regress ask a model ·
``triton_grpc``, ``triton_rest`` Triton's extensions · ``model_config``, ``statistics``,
``log_settings``, ``trace_settings``, ``shared_memory`` what is behind them, ``extras`` what they
share · ``generate`` JSON keys to tensors · ``oip_raw`` a request without a header ·
``forms``, ``oip_template`` what equal requests need not be asked twice · ``uploads`` files instead
of tensors, from a ``multipart`` form too · ``decoding`` the threads that read them · ``openapi``
and ``openapi_schemas`` the document of all paths · ``docs_page`` the same for people.

Large JSON goes another way: ``parcel`` a body in a memory file · ``scribe_client`` hands it over ·
``handover`` what crosses · ``decoded`` what comes back. In the scribe: ``scribe`` the process ·
``json_body`` and ``json_answer`` the fronts' own functions · ``json_lists`` numbers at once.

Where all fronts meet: ``exchange`` names the one function · ``validate`` inputs against a
signature · ``shapes`` who may share a batch · ``dispatch`` queue, batches, engine, outcomes ·
``sequences`` models with a memory, ``sequence_table`` what they remember · ``departures`` clients
that left · ``catalog`` the models there are · ``bell`` rings when that changes.

In the supervisor: ``envoy`` its configuration · ``process`` its life · ``scribe_process`` the
scribe's.
"""
