"""The request receiver: the way in and out.

In Envoy: ``main`` what Envoy loads · ``runtime`` composes what the supervisor says into what
serves, ``missed`` what could not yet · ``asgi`` one request: body, front, answer, count ·
``arrival`` when it came · ``routes`` paths to fronts · ``http``, ``grpc`` and ``stream`` the
framings · ``bodies`` how long one may take to come · ``exchange`` what a front works with, and the
one function in which all fronts meet · ``health``, ``reflection`` what gRPC's own tools ask.

The fronts: ``oip`` · ``tfserving`` · ``plain`` · ``openapi``. What several of them use:
``codecs`` · ``metadata`` of models, and parameters · ``sequence_calls`` which sequence a request
belongs to · ``forms`` what equal requests need not be asked twice.

Before it: ``on_demand`` requests that wait for a model to be loaded · ``usage`` when each model
was last used.

Behind the one function: ``run`` queue, batches, engine, outcomes · ``catalog`` the models there
are · ``tracing`` Triton's traces, ``spans`` OpenTelemetry's, of those that ``span_sampler`` takes,
``otel_log`` what its libraries say · ``telemetry`` Prometheus', ``numbers`` what all receivers have
counted · ``bell`` rings when that changes · ``orders`` of clients to the supervisor,
``model_files`` what they send to be loaded.

Large JSON: ``handover`` out of the receiver, to the ``scribe``.

In the supervisor: ``envoy`` its configuration, ``access_log`` and ``envoy_spans`` parts of that ·
``process`` its life · ``scribe_process`` the scribe's · ``otel`` what is known of that before it is
imported.
"""
