"""The error tree: what can go wrong, whose fault it is, and what each protocol calls it.

::

    HeadraceError
    ├── ClientError                  the request is wrong; sending it again will not help
    │   ├── MalformedRequest         the body or an envelope field cannot be read
    │   ├── InvalidArgument          a field asks for what there is not: a label, a signature
    │   ├── InvalidInput             a tensor does not fit the model's signature
    │   ├── InvalidTimeout           a deadline that cannot be read
    │   ├── UnsupportedEncoding      content or message encoding we do not speak
    │   ├── BodyTooLarge             over the configured limit
    │   ├── BodyTooSlow              it hardly comes, and has a place of others meanwhile
    │   ├── RouteNotFound            no such path or gRPC method
    │   ├── MethodNotAllowed         right path, wrong verb
    │   ├── ModelNotFound            no such model
    │   ├── VersionNotFound          no such version of the model
    │   ├── SignatureNotFound        no such serving signature
    │   ├── NotAllowed               the settings do not let clients do this
    │   ├── SequenceNotStarted       a sequence that is not known must begin with its START flag
    │   ├── RegionNotFound           no such shared memory region
    │   ├── AlreadyExists            the name is taken
    │   ├── ServiceNotFound          a health check of something that is not here
    │   └── Cancelled                the client left before the answer
    ├── OverloadError                the request is fine, the machine is busy; retry later
    │   ├── QueueFull                the model's queue is at its bound
    │   ├── TooManySequences         the model keeps as many sequences as it may
    │   ├── TooManyRegions           as many shared memory regions are registered as may be
    │   ├── PredictedMiss            refused at arrival: the deadline would be missed
    │   ├── Shed                     dropped from the queue: the deadline would be missed
    │   └── Expired                  the deadline passed in the queue
    ├── UnavailableError             this server cannot run the model now
    │   ├── NotReady                 the model is still loading, or not in memory
    │   ├── NotResident              the model is on its way into memory, since it was asked for
    │   ├── NoRoom                   what is in memory cannot leave for the model now
    │   ├── ModelFailed              the model is marked failed
    │   ├── ModelTooLarge            the model does not fit into the memory budget
    │   ├── EngineLost               its engine died under the request, twice or past the deadline
    │   ├── ScribeLost               the process that decodes large JSON died of it, or is stuck
    │   ├── Exhausted                no descriptor or memory is left for it now
    │   ├── Draining                 the server is shutting down
    │   ├── ConnectionFailed         seen by a client: no connection, nothing was sent
    │   └── ConnectionLost           seen by a client: the connection ended before the answer
    ├── ServerError                  our fault
    │   ├── InferenceFailed          the backend raised on this batch
    │   ├── MalformedAnswer          seen by a client: the answer cannot be read
    │   ├── Unsupported              this server does not do that, or a setting has it off
    │   └── InternalError            a bug of Headrace
    └── OperatorError                the person who starts the server must change something
        ├── SettingsError            a bad key, flag or variable
        ├── ModelLoadError           a model that cannot be found, read or warmed up
        ├── ModelDiffers             a model that does not answer as the version that serves
        ├── BackendMissing           an optional library is not installed
        ├── DeviceMissing            a GPU asked for is not there, or a library cannot use it
        └── StartError               a process did not come up (port taken, no libpython)

HTTP and gRPC statuses come from the one table in ``statuses`` and from nowhere else.
"""

from __future__ import annotations

from typing import ClassVar

from headrace.statuses import STATUSES, Blame, GrpcStatus


class HeadraceError(Exception):
    """The root: a stable code, whose fault, and whether the same request may succeed later.

    Attributes:
        retry_after_s: when retrying makes sense (the ``Retry-After`` header), or None.
    """

    code: ClassVar[str] = "internal"
    blame: ClassVar[Blame] = Blame.SERVER
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        # It names files, whose names need not be text; and it goes over the wire.
        self.message = message.encode("utf-8", "backslashreplace").decode()
        super().__init__(self.message)
        self.retry_after_s = retry_after_s

    @property
    def http_status(self) -> int:
        """The HTTP status of this error."""
        return STATUSES[self.code][0]

    @property
    def grpc_status(self) -> GrpcStatus:
        """The gRPC status of this error."""
        return STATUSES[self.code][1]


class ClientError(HeadraceError):
    """The request is wrong."""

    code = "invalid_argument"
    blame = Blame.CLIENT


class MalformedRequest(ClientError):
    """The body or an envelope field cannot be read."""

    code = "malformed_request"


class InvalidArgument(ClientError):
    """A field can be read and asks for what there is not, or cannot be: a label, a signature."""

    code = "invalid_argument"


class InvalidInput(ClientError):
    """A tensor does not fit the model's signature: name, dtype, shape or content."""

    code = "invalid_input"


class InvalidTimeout(ClientError):
    """A ``grpc-timeout``, ``timeout`` parameter or timeout header that cannot be read."""

    code = "invalid_timeout"


class UnsupportedEncoding(ClientError):
    """A content encoding, message encoding or content type this server does not speak."""

    code = "unsupported_encoding"


class BodyTooLarge(ClientError):
    """A body or an item over the configured limit."""

    code = "body_too_large"


class BodyTooSlow(ClientError):
    """A body that hardly comes, or not at all, after the head of its request."""

    code = "body_too_slow"


class RouteNotFound(ClientError):
    """No such path or gRPC method."""

    code = "route_not_found"


class MethodNotAllowed(ClientError):
    """The path exists, the verb does not fit it; ``allowed`` do."""

    code = "method_not_allowed"

    def __init__(self, message: str, *, allowed: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.allowed = allowed


class ModelNotFound(ClientError):
    """No model of that name."""

    code = "model_not_found"


class VersionNotFound(ClientError):
    """The model has no such version."""

    code = "version_not_found"


class SignatureNotFound(ClientError):
    """The model has no such serving signature."""

    code = "signature_not_found"


class NotAllowed(ClientError):
    """The settings do not let clients do this; the message names the setting."""

    code = "not_allowed"


class SequenceNotStarted(ClientError):
    """The sequence is not known, and the request does not begin it."""

    code = "sequence_not_started"


class RegionNotFound(ClientError):
    """No shared memory region of that name."""

    code = "region_not_found"


class AlreadyExists(ClientError):
    """The name is taken."""

    code = "already_exists"


class ServiceNotFound(ClientError):
    """A health check names neither a service nor a model."""

    code = "service_not_found"


class Cancelled(ClientError):
    """The client left before the answer."""

    code = "cancelled"


class OverloadError(HeadraceError):
    """The request is fine; the machine is too busy for it now."""

    code = "overloaded"
    retryable = True


class QueueFull(OverloadError):
    """The model's queue is at its bound."""

    code = "queue_full"


class TooManySequences(OverloadError):
    """The model keeps as many sequences as it may."""

    code = "too_many_sequences"


class TooManyRegions(OverloadError):
    """As many shared memory regions are registered as may be; unregister some first."""

    code = "too_many_regions"


class PredictedMiss(OverloadError):
    """Refused at arrival: the predicted finish is after the deadline."""

    code = "predicted_miss"


class Shed(OverloadError):
    """Dropped from the queue: the predicted finish is after the deadline."""

    code = "shed"


class Expired(OverloadError):
    """The deadline passed before the request could be run."""

    code = "expired"


class UnavailableError(HeadraceError):
    """This server cannot run the model now."""

    code = "unavailable"
    retryable = True


class NotReady(UnavailableError):
    """The model is known, and still loading or not in memory."""

    code = "not_ready"


class NotResident(UnavailableError):
    """The version is listed, and loads now that it has been asked for; ``key`` names it."""

    code = "not_resident"

    def __init__(
        self, message: str, *, retry_after_s: float | None = None, key: tuple[str, int] = ("", 0)
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.key = key


class NoRoom(UnavailableError):
    """What is in memory cannot leave for the model now; it may when sequences have ended."""

    code = "no_room"


class ModelFailed(UnavailableError):
    """The model is marked failed; an operator must look at it."""

    code = "model_failed"
    retryable = False


class ModelTooLarge(UnavailableError):
    """The model does not fit into the memory budget, whatever leaves; the message has its size."""

    code = "model_too_large"
    retryable = False


class EngineLost(UnavailableError):
    """The engine died under the request and it could not be tried again."""

    code = "engine_lost"


class ScribeLost(UnavailableError):
    """The process that decodes large JSON bodies died under this one, twice, or does not answer."""

    code = "scribe_lost"


class Exhausted(UnavailableError):
    """The server has no descriptors or memory left for this request now."""

    code = "exhausted"


class Draining(UnavailableError):
    """The server is shutting down."""

    code = "draining"


class ConnectionFailed(UnavailableError):
    """Seen by a client: no connection could be made, and nothing was sent."""

    code = "connection_failed"


class ConnectionLost(UnavailableError):
    """Seen by a client: the connection ended before the answer; the request may have been run."""

    code = "connection_lost"


class ServerError(HeadraceError):
    """Our fault."""

    code = "internal"


class InferenceFailed(ServerError):
    """The backend raised on this input."""

    code = "inference_failed"


class MalformedAnswer(ServerError):
    """Seen by a client: what answered does not speak the protocol."""

    code = "malformed_answer"


class Unsupported(ServerError):
    """This server does not do that, or a setting has it off; the message says which."""

    code = "unsupported"


class InternalError(ServerError):
    """A bug of Headrace."""

    code = "internal"


class OperatorError(HeadraceError):
    """The person who starts the server must change something."""

    code = "operator"
    blame = Blame.OPERATOR


class SettingsError(OperatorError):
    """A bad key, flag or variable; the message names it, with the line where there is one."""

    code = "settings"


class ModelLoadError(OperatorError):
    """A model that cannot be found, read or warmed up."""

    code = "model_load"


class ModelDiffers(OperatorError):
    """A version that does not answer as the one that serves, where the model says ``verify``."""

    code = "model_differs"


class BackendMissing(OperatorError):
    """An optional library is not installed; the message names the extra."""

    code = "backend_missing"


class DeviceMissing(OperatorError):
    """A GPU that is asked for is not there, or a library cannot use it; the message says why."""

    code = "device_missing"


class StartError(OperatorError):
    """A process did not come up."""

    code = "start"
