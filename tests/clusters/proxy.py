"""An HTTP proxy before a server that records, fails and lies as it is told."""

import http.client
import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Chunks of a stream, and replies, that are held back for good are held back until the proxy closes, at most so long.
LONGEST_HANG = 120


class Proxy:
    """Listens on a port of its own. All of its attributes may be changed while it runs."""

    def __init__(self, upstream):
        self.upstream = upstream
        self.requests = []  # (path, body) of every POST
        self.refusals = []  # (status, headers) of the next POSTs
        self.refuse_all = None  # the same of all
        self.hangs = False  # whether POSTs are never answered
        self.cuts = []  # of the next streams: the number of chunks after which the connection is cut
        self.stalls = []  # the same: after which nothing comes any more
        self.lie = None  # lie(path, request, reply) -> reply, for replies that are no stream
        self.connections = set()
        self.lock = threading.Lock()
        self.server = None
        self.port = 0
        self.open()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def open(self):
        server = Listener(("127.0.0.1", self.port), Handler)
        server.proxy = self
        self.port = server.server_address[1]
        self.server = server
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        """Refuses connections from now on, and cuts those that there are."""
        self.server.shutdown()
        self.server.server_close()
        with self.lock:
            connections, self.connections = self.connections, set()
        for connection in connections:
            cut(connection)

    def forget(self):
        with self.lock:
            self.requests = []

    def posted(self, *paths):
        with self.lock:
            return [body for path, body in self.requests if path in paths]


class Listener(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def handle_error(self, *_):
        """Connections break all the time here."""


def cut(connection):
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self):
        super().setup()
        with self.server.proxy.lock:
            self.server.proxy.connections.add(self.connection)

    def finish(self):
        with self.server.proxy.lock:
            self.server.proxy.connections.discard(self.connection)
        super().finish()

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.forward(None)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        proxy = self.server.proxy
        with proxy.lock:
            proxy.requests.append((self.path, json.loads(body)))
            refusal = proxy.refusals.pop(0) if proxy.refusals else proxy.refuse_all
            hangs = proxy.hangs
        if hangs:
            self.hang()
        elif refusal:
            status, headers = refusal
            self.answer(status, b'{"error": {"message": "busy"}}', headers)
        else:
            self.forward(body)

    def hang(self):
        ends = time.monotonic() + LONGEST_HANG
        self.close_connection = True
        while time.monotonic() < ends and self.connection in self.server.proxy.connections:
            # The caller has left, or the proxy was closed.
            self.connection.settimeout(0.5)
            try:
                if self.connection.recv(1, socket.MSG_PEEK) == b"":
                    return
            except TimeoutError:
                pass
            except OSError:
                return

    def answer(self, status, body, headers=()):
        self.send_response(status)
        for name, value in [("Content-Type", "application/json"), ("Content-Length", str(len(body))), *headers]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def forward(self, body):
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.proxy.upstream, timeout=600)
        try:
            headers = {"Content-Type": "application/json"} if body is not None else {}
            upstream.request(self.command, self.path, body, headers)
            reply = upstream.getresponse()
            if "event-stream" in (reply.getheader("Content-Type") or ""):
                return self.stream(reply)
            content = reply.read()
        except OSError:
            # As if there were no proxy: the connection breaks.
            self.close_connection = True
            return cut(self.connection)
        finally:
            upstream.close()
        lie = self.server.proxy.lie
        if lie and reply.status == 200:
            try:
                content = json.dumps(lie(self.path, json.loads(body or b"null"), json.loads(content))).encode()
            except ValueError:
                pass
        self.answer(reply.status, content)

    def stream(self, reply):
        proxy = self.server.proxy
        with proxy.lock:
            cut_after = proxy.cuts.pop(0) if proxy.cuts else None
            stall_after = proxy.stalls.pop(0) if proxy.stalls else None
        self.send_response(reply.status)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        told = 0
        while True:
            if told == cut_after:
                self.close_connection = True
                return cut(self.connection)
            if told == stall_after:
                return self.hang()
            line = reply.readline()
            if not line:
                break
            told += line.startswith(b"data:")
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        self.wfile.write(b"0\r\n\r\n")
