"""What both clients say to every server."""

import os
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import httpx

from ._errors import ConnectionFailed, TimedOut

DEFAULT_URL = "http://127.0.0.1:8080"

#: How a client waits before it sends a request again.
AsyncSleep: TypeAlias = Callable[[float], Awaitable[None]]
Sleep: TypeAlias = Callable[[float], None]

#: The client waits this many seconds longer than the server may take, so that it gets the server's answer: what was
#: graded by then, or the reason.
GRACE = 30.0
#: As many requests of one client are under way at once; others wait for them, without a timeout.
LIMITS = httpx.Limits(max_connections=256, max_keepalive_connections=256)


def check_timeout(seconds: float) -> None:
    """Checks how long the server may take.

    Raises:
        TypeError: It is no number.
        ValueError: It is not above 0.
    """
    if not isinstance(seconds, (int, float)):
        raise TypeError(f"timeout cannot be {seconds!r}, a {type(seconds).__name__}")
    if not seconds > 0.0:
        raise ValueError(f"timeout is in seconds, above 0, not {seconds!r}")


def headers(api_key: str | None, timeout: float) -> dict[str, str]:
    """The headers of every request: the key, by default that of GAVEL_API_KEY, and how long the server may take.

    Raises:
        ValueError: `timeout` is not above 0.
    """
    check_timeout(timeout)
    deadline = {"X-Request-Timeout-Ms": str(max(1, round(timeout * 1000.0)))}
    key = os.environ.get("GAVEL_API_KEY") if api_key is None else api_key
    return {**deadline, "Authorization": f"Bearer {key}"} if key else deadline


def timeouts(seconds: float) -> httpx.Timeout:
    """Long for the judge, short for the network."""
    return httpx.Timeout(seconds + GRACE, connect=min(seconds, 5.0), pool=None)


def connect_error(error: httpx.HTTPError, request: httpx.Request) -> ConnectionFailed | TimedOut:
    """The exception for an error of the network."""
    kind = TimedOut if isinstance(error, httpx.TimeoutException) else ConnectionFailed
    return kind(f"{request.url}: {type(error).__name__} {error}".rstrip())
