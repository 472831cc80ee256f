"""Many callers at once: HTTP over asyncio, one connection a caller."""

import asyncio
import json

from server import ABSOLUTE, PATIENCE, grading


class CutOff(Exception):
    """A connection that ended in the middle of a request. `begun`: some of the reply was there."""

    def __init__(self, begun):
        super().__init__("cut off")
        self.begun = begun


class Caller:
    def __init__(self, port, key=None):
        self.port, self.key = port, key
        self.reader = self.writer = None

    async def connect(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)

    def head(self, path, size, headers):
        lines = [f"POST {path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}", "Content-Type: application/json"]
        lines += [f"Content-Length: {size}", *headers]
        if self.key:
            lines.append(f"Authorization: Bearer {self.key}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    async def post(self, path, body, headers=()):
        """The status, the headers in lower case, and the body. The connection is kept if the server keeps it."""
        if self.writer is None:
            await self.connect()
        data, head, begun = json.dumps(body).encode(), b"", False
        try:
            self.writer.write(self.head(path, len(data), headers) + data)
            await self.writer.drain()
            head = await self.reader.readuntil(b"\r\n\r\n")
            begun = True
            first, *rest = head.decode("latin-1").rstrip().split("\r\n")
            fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in rest)}
            text = await self.reader.readexactly(int(fields.get("content-length", 0)))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            begun = begun or bool(getattr(error, "partial", b""))
            self.close()
            raise CutOff(begun) from None
        if fields.get("connection") == "close":
            self.close()
        return int(first.split()[1]), fields, text

    async def grade(self, text, **fields):
        """A grading, which no cache answers."""
        return await self.post(ABSOLUTE, grading(text, cache=False, **fields))

    def close(self):
        if self.writer:
            self.writer.close()
        self.reader = self.writer = None


def together(*work):
    """Runs coroutines until all have ended, and returns what they return."""

    async def all_of_it():
        return await asyncio.wait_for(asyncio.gather(*work), PATIENCE)

    return asyncio.run(all_of_it())
