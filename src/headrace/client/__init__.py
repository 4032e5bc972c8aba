"""The Python client: numpy in, numpy out, over HTTP or gRPC, from threads or from an event loop.

::

    with headrace.Client("grpc://localhost:8000") as client:
        y = client.infer("linear", {"x": x}, timeout_s=0.5).output

It speaks the Open Inference Protocol and so asks other servers of it, too.

In the order of a call: ``sync`` and ``aio`` the two clients, and ``calls`` what they share ·
``options`` what a call may ask for · ``address`` where the server is, and which library reaches it
· ``trust`` whose certificates count · ``tensors`` what users give, as arrays to send · ``question``
what goes out and what comes back, in values · ``oip_http`` and ``oip_grpc`` questions and answers
in the two forms of the protocol · ``http_transport`` and ``grpc_transport`` their connections,
``http_stream`` and ``http_aio_stream`` what comes and goes on one, ``sockets`` how it is made,
``deadline`` until when · ``failures`` typed errors of both · ``retry`` whether to try again, and
when · ``result`` what the caller gets.

The libraries of the transports are imported when a client is made, not before.
"""

from headrace.client.aio import AsyncClient
from headrace.client.result import ModelMetadata, ModelState, Result, ServerMetadata
from headrace.client.retry import RetryPolicy
from headrace.client.sync import Client

__all__ = [
    "AsyncClient",
    "Client",
    "ModelMetadata",
    "ModelState",
    "Result",
    "RetryPolicy",
    "ServerMetadata",
]
