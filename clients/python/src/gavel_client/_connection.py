"""What both clients say to every server."""

import httpx

from ._errors import ConnectionFailed

DEFAULT_URL = "http://127.0.0.1:8080"


def headers(api_key: str | None) -> dict[str, str]:
    """The headers of every request."""
    return {"Authorization": f"Bearer {api_key}"} if api_key else {}


def timeouts(seconds: float) -> httpx.Timeout:
    """Long for the judge, short for the network."""
    return httpx.Timeout(seconds, connect=min(seconds, 5.0))


def connect_error(error: httpx.HTTPError, request: httpx.Request) -> ConnectionFailed:
    """The exception for an error of the network."""
    return ConnectionFailed(f"{request.url}: {type(error).__name__} {error}".rstrip())
