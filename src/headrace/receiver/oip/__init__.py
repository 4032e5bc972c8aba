"""The Open Inference Protocol of KServe and Triton, with Triton's extensions.

Fronts: ``grpc``, ``rest``, ``stream``, ``generate_stream`` · ``repository`` orders to load and
unload · ``triton_grpc``, ``triton_rest`` the extensions beside inference.

Behind them: ``rest_request`` and ``rest_answer`` what ``rest`` reads and writes · ``template``
requests that are alike · ``raw`` a request without a header · ``generate`` JSON keys to tensors ·
``model_config``, ``statistics``, ``log_settings``, ``trace_settings``, ``shared_memory`` what the
extensions are about, ``extras`` what both fronts share of it.
"""
