"""The request receiver: the way in and out.

In Envoy: ``main`` what Envoy loads · ``runtime`` composes what the supervisor says into what serves
· ``asgi`` one request: body, front, answer, count · ``routes`` paths to fronts · ``exchange`` what
a front works with · ``http`` and ``grpc`` the two framings · ``oip_grpc``, ``oip_rest``,
``tfserving_grpc``, ``tfserving_rest``, ``predict`` the fronts · ``oip_repository``,
``tfserving_reload`` orders to load and unload, ``uploads`` the files that come with them ·
``metadata``, ``tfserving_status``, ``tfserving_signature`` what they tell of models · ``tensors``,
``json_tensor``, ``protobuf``, ``wire``, ``tfserving_tensors``, ``tfserving_json`` their codecs ·
``tfserving_examples``, ``tfserving_results`` how Classify and Regress ask a model ·
``forms``, ``oip_template`` what equal requests need not be asked twice.

Large JSON: ``parcel`` a body in shared memory · ``decoder_client`` hands it over · ``decoder`` the
process that makes tensors of it · ``json_body``, ``json_lists`` how · ``handover`` what crosses
between the two · ``decoded`` what a front finds instead.

Where all fronts meet: ``exchange`` names the one function · ``validate`` inputs against a
signature · ``shapes`` who may share a batch · ``dispatch`` queue, batches, engine, outcomes ·
``departures`` clients that left · ``catalog`` the models there are.

In the supervisor: ``envoy`` its configuration · ``process`` its life · ``decoder_process`` the
decoder's life.
"""
