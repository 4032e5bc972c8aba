"""The request receiver: the way in and out.

In Envoy: ``main`` what Envoy loads · ``runtime`` composes what the supervisor says into what serves
· ``asgi`` one request: body, front, answer, count · ``routes`` paths to fronts · ``exchange`` what
a front works with · ``http`` and ``grpc`` the two framings · ``oip_grpc``, ``oip_rest``,
``tfserving_grpc``, ``tfserving_rest``, ``predict`` the fronts · ``metadata``, ``tfserving_status``
what they tell of models · ``triton_grpc``, ``triton_rest`` Triton's extensions ·
``model_config``, ``statistics``, ``log_settings``, ``trace_settings``, ``shared_memory`` what is
behind them, ``extras`` what they share · ``tensors``, ``json_tensor``, ``protobuf``, ``wire``
their codecs · ``generate`` JSON keys to tensors · ``oip_raw`` a request without a header ·
``forms``, ``oip_template`` what equal requests need not be asked twice.

Where all fronts meet: ``exchange`` names the one function · ``validate`` inputs against a
signature · ``shapes`` who may share a batch · ``dispatch`` queue, batches, engine, outcomes ·
``departures`` clients that left · ``catalog`` the models there are.

In the supervisor: ``envoy`` its configuration · ``process`` its life.
"""
