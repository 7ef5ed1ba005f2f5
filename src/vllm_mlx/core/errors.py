"""Everything that can go wrong for a caller, with stable codes and no HTTP numbers."""

from __future__ import annotations


class AppError(Exception):
    """A failure the caller should hear about.

    Args:
        message: one plain sentence for the caller; never a path, a trace or another user's data.
        param: the request field at fault, if one is.
        code: a stable machine-readable name that overrides the class's own.
    """

    code = "internal_error"
    retry_after_s: float | None = None
    """When to try again, where that can help."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        if code is not None:
            self.code = code


class InvalidRequest(AppError):
    """The request cannot be served as written; sending it again unchanged cannot help."""

    code = "invalid_request"


class ContextOverflow(InvalidRequest):
    """Prompt and requested output do not fit the model's context."""

    code = "context_length_exceeded"


class InvalidGrammar(InvalidRequest):
    """The form that the output must have cannot be enforced: it is wrong, too complex, or cannot be met."""

    code = "invalid_grammar"


class PayloadTooLarge(AppError):
    """The body, a header or the nesting is over the server's cap."""

    code = "payload_too_large"


class AuthenticationFailed(AppError):
    """No key, or the wrong one."""

    code = "invalid_api_key"


class PermissionDenied(AppError):
    """The caller is known or local, but this is not allowed (a foreign Host header, for one)."""

    code = "permission_denied"


class NotFound(AppError):
    """No such route or object."""

    code = "not_found"


class ModelNotFound(NotFound):
    """The request names a model this server does not serve."""

    code = "model_not_found"


class Overloaded(AppError):
    """The queue is full or a rate limit was hit; try again after `retry_after_s` seconds."""

    code = "overloaded"

    def __init__(self, message: str, *, retry_after_s: float = 1.0, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after_s = retry_after_s


class DeadlineExceeded(AppError):
    """The request's own time limit passed before it was done."""

    code = "deadline_exceeded"


class Unavailable(AppError):
    """The model cannot serve (any more): loading failed, the engine died, the server is stopping."""

    code = "unavailable"

    def __init__(self, message: str, *, retry_after_s: float | None = None, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after_s = retry_after_s


class ModelLoadError(AppError):
    """The model folder is missing, incomplete, or of a kind that cannot be loaded."""

    code = "model_load_failed"


class InternalError(AppError):
    """A fault of ours. The message is fixed text; the log has the details."""

    code = "internal_error"


def error_from_code(code: str, message: str) -> AppError:
    """The error an engine reported across its wire as (code, message)."""
    pending: list[type[AppError]] = [AppError]
    while pending:
        kind = pending.pop()
        if kind.code == code and kind is not AppError:
            return kind(message)
        pending.extend(kind.__subclasses__())
    return InternalError(message, code=code)
