"""The clients of this process: one for each server, however many reward functions there are.

Connections must not be shared by two processes. So a fork makes clients of its own, and what is pickled is only how to
reach the server.
"""

import asyncio
import os
from dataclasses import dataclass

from ._async import AsyncGavel
from ._connection import DEFAULT_URL, check_timeout
from ._options import check_kind
from ._retry import Retry
from ._sync import Gavel


@dataclass(frozen=True)
class Connection:
    """How to reach a server.

    Raises:
        TypeError: A value has another type.
        ValueError: The address is no http(s) URL, or `timeout` is not above 0.
    """

    base_url: str = DEFAULT_URL
    api_key: str | None = None
    timeout: float = 600.0
    retry: Retry | None = None

    def __post_init__(self) -> None:
        check_kind("api_key", self.api_key, str)
        check_kind("retry", self.retry, Retry)
        if not isinstance(self.base_url, str) or not self.base_url.startswith(("http://", "https://")):
            raise ValueError(f"base_url begins with http:// or https://, unlike {self.base_url!r}")
        check_timeout(self.timeout)

    def client(self) -> Gavel:
        """The client of this process."""
        key = (os.getpid(), self)
        # Of two threads that are here at once, the second gets the client of the first.
        return _clients.get(key) or _clients.setdefault(key, Gavel(**vars(self)))

    def async_client(self) -> AsyncGavel:
        """The client of the running event loop."""
        loop = asyncio.get_running_loop()
        if loop not in _loops:
            for closed in [other for other in list(_loops) if other.is_closed()]:
                _loops.pop(closed, None)
        clients = _loops.setdefault(loop, {})
        return clients.get(self) or clients.setdefault(self, AsyncGavel(**vars(self)))


_clients: dict[tuple[int, Connection], Gavel] = {}
_loops: dict[asyncio.AbstractEventLoop, dict[Connection, AsyncGavel]] = {}
