"""The request receiver: the way in and out.

In Envoy: ``main`` what Envoy loads · ``runtime`` composes what the supervisor says into what serves
· ``asgi`` one request: body, front, answer, count · ``routes`` paths to fronts · ``exchange`` what
a front works with · ``http`` and ``grpc`` the two framings · ``stream``, ``frames`` gRPC of many
messages · ``compression`` of bodies · ``oip_grpc``, ``oip_stream``, ``oip_rest``,
``generate_stream``, ``tfserving_grpc``, ``tfserving_rest``, ``predict`` the fronts · ``health``,
``reflection`` what gRPC's own tools ask · ``metadata``, ``tfserving_status``
what they tell of models · ``tensors``, ``json_tensor``, ``protobuf``, ``wire`` their codecs ·
``generate`` Triton's mapping of JSON keys to tensors ·
``forms``, ``oip_template`` what equal requests need not be asked twice.

Where all fronts meet: ``exchange`` names the one function · ``validate`` inputs against a
signature · ``shapes`` who may share a batch · ``dispatch`` queue, batches, engine, outcomes ·
``departures`` clients that left · ``catalog`` the models there are · ``bell`` rings when that
changes.

In the supervisor: ``envoy`` its configuration · ``process`` its life.
"""
