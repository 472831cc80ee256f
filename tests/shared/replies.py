"""What the suites that start real servers share: a free port, the reply to a request, and the values of /metrics."""

import json
import socket


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Reply:
    def __init__(self, status, headers, text):
        self.status, self.headers, self.text = status, headers, text

    @property
    def json(self):
        return json.loads(self.text)

    @property
    def code(self):
        """The code of an error, in Gavel's form or OpenAI's."""
        try:
            body = self.json
        except ValueError:
            return None
        if not isinstance(body, dict):
            return None
        error = body.get("error")
        return body.get("code") or (error.get("code") if isinstance(error, dict) else None)

    @property
    def outcome(self):
        """The code of an error, or the status."""
        return self.code or self.status


def metric_values(text):
    """The values by their names; those of several labels are added."""
    values = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            name = name.partition("{")[0]
            values[name] = values.get(name, 0.0) + float(value)
    return values
