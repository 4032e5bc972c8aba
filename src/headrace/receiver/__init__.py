"""The request receiver: the way in and out.

In Envoy: ``main`` what Envoy loads · ``runtime`` composes what the supervisor says into what serves
· ``asgi`` one request: body, front, answer, count · ``routes`` paths to fronts · ``exchange`` what
a front works with · ``http`` and ``grpc`` the two framings · ``oip_grpc``, ``oip_rest``,
``tfserving_grpc``, ``tfserving_rest``, ``predict`` the fronts · ``metadata``, ``tfserving_status``
what they tell of models · ``tensors``, ``json_tensor``, ``protobuf``, ``wire`` their codecs ·
``forms``, ``oip_template`` what equal requests need not be asked twice · ``uploads`` files instead
of tensors, from a ``multipart`` form too · ``decoding`` the threads that read them · ``openapi``
and ``openapi_schemas`` the document of all paths · ``docs_page`` the same for people.

Where all fronts meet: ``exchange`` names the one function · ``validate`` inputs against a
signature · ``shapes`` who may share a batch · ``dispatch`` queue, batches, engine, outcomes ·
``departures`` clients that left · ``catalog`` the models there are.

In the supervisor: ``envoy`` its configuration · ``process`` its life.
"""
