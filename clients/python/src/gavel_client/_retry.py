"""When a request is sent again, and after how long."""

from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from random import Random

import httpx

#: Rate limited; the engine failed, and comes back; saturated, loading or shutting down. Grading changes nothing on the
#: server, so sending it again does no harm.
RETRIED_STATUSES = frozenset({429, 502, 503})
#: There was no connection, or it broke. A timeout of a request is none of these: the work may still be running.
RETRIED_ERRORS = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.ReadError,
    httpx.WriteError,
    httpx.RemoteProtocolError,
)


@dataclass(frozen=True)
class Retry:
    """How often and how patiently a request is sent again.

    The wait before retry n is random between 0 and `base * 2**n` seconds, at most `longest`. What the server asks for
    with Retry-After is waited for in any case, and some more, so that callers do not come back all at once; if it is
    longer than `longest`, the request fails at once.
    """

    retries: int = 5
    base: float = 0.5
    longest: float = 30.0
    rng: Random = field(default_factory=Random, repr=False, compare=False)

    def wait(self, retry: int, retry_after: float | None = None) -> float | None:
        """Seconds before retry number `retry`, counted from 0; None when there is none."""
        if retry >= self.retries or (retry_after or 0.0) > self.longest:
            return None
        jitter = self.rng.uniform(0.0, min(self.longest, self.base * 2.0**retry))
        return jitter if retry_after is None else retry_after + min(jitter, self.base)


def retry_after(response: httpx.Response) -> float | None:
    """The seconds that a response asks to wait: a number, or until a date."""
    value = response.headers.get("retry-after", "").strip()
    if not value:
        return None
    if value.isdigit():
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=timezone.utc)
    return max(0.0, (date - datetime.now(timezone.utc)).total_seconds())
