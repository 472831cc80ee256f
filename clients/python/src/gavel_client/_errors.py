"""What can go wrong. Every error can be pickled, since rewards are computed in worker processes."""

from pydantic import BaseModel, ConfigDict, Field


class ProblemDetails(BaseModel):
    """A problem as the server says it (RFC 9457)."""

    model_config = ConfigDict(extra="allow", frozen=True)

    code: str
    status: int
    title: str
    detail: str
    pointer: str | None = None
    request_id: str = ""
    type_uri: str = Field(default="", alias="type")


class GavelError(Exception):
    """Anything that goes wrong between a caller and its verdict."""


class ConnectionFailed(GavelError):
    """The server could not be reached, or the connection broke."""


class TimedOut(GavelError):
    """There was no answer in time: the client's timeout or, as `DeadlineExceeded`, the server's deadline has passed."""


class UnexpectedAnswer(GavelError):
    """The answer is not what a Gavel server says: the address may be wrong."""


class Problem(GavelError):
    """The server says no."""

    def __init__(self, problem: ProblemDetails) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        """Code, place, reason and request."""
        where = f" at {self.pointer}" if self.pointer else ""
        request = f" (request {self.request_id})" if self.request_id else ""
        return f"{self.code}{where}: {self.detail}{request}"

    @property
    def code(self) -> str:
        """The stable code, such as `context_overflow`."""
        return self.problem.code

    @property
    def detail(self) -> str:
        """What is wrong with this request."""
        return self.problem.detail

    @property
    def pointer(self) -> str | None:
        """JSON pointer to the field at fault."""
        return self.problem.pointer

    @property
    def request_id(self) -> str:
        """The id under which the server's log has the request."""
        return self.problem.request_id

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.problem.status


class InvalidRequest(Problem):
    """The request is wrong; sending it again will not help."""


class Forbidden(Problem):
    """A key is missing, or may not do that."""


class NotFound(Problem):
    """No such rubric, model or route."""


class RateLimited(Problem):
    """Too many requests, for longer than the client was willing to wait."""


class Unavailable(Problem):
    """The server was saturated, loading or shutting down for longer than the client was willing to wait."""


class DeadlineExceeded(Problem, TimedOut):
    """The server's deadline passed."""


class ServerFailed(Problem):
    """The server or its engine failed."""


def problem_error(problem: ProblemDetails) -> Problem:
    """The exception for a problem."""
    kinds: dict[int, type[Problem]] = {
        401: Forbidden,
        403: Forbidden,
        404: NotFound,
        429: RateLimited,
        503: Unavailable,
        504: DeadlineExceeded,
    }
    fallback = InvalidRequest if problem.status < 500 else ServerFailed
    return kinds.get(problem.status, fallback)(problem)
