"""A PostgreSQL of a row's own: Debian's package, in a folder of its own, reached by a socket."""

import glob
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from server import Skipped, must, until

QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def program(name):
    """The command of a program of PostgreSQL, which refuses to run as root; Debian keeps it off the PATH."""
    installed = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}")) or [shutil.which(name)]
    if not installed[-1]:
        raise Skipped("PostgreSQL is not installed: apt-get install postgresql")
    if os.getuid() != 0:
        return [installed[-1]]
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", installed[-1]]


class Postgres:
    def __init__(self):
        # The names of sockets are short.
        self.folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))
        self.data, self.process = self.folder / "data", None
        if os.getuid() == 0:
            shutil.chown(self.folder, "postgres")
        made = subprocess.run([*program("initdb"), "-A", "trust", "-U", "gavel", "--no-sync", "-D", self.data], **QUIET)
        must(made.returncode == 0, "initdb")
        self.url = f"postgres://gavel@localhost/postgres?host={self.folder}"

    def start(self):
        """Starts it, and waits until it can be asked. While processes are left from a crash, it refuses."""
        settings = ["-c", "listen_addresses=", "-c", "fsync=off"]
        server = [*program("postgres"), "-D", self.data, "-k", self.folder, *settings]

        def up():
            if self.process is None or self.process.poll() is not None:
                self.process = subprocess.Popen(server, start_new_session=True, **QUIET)
            return self.ask("SELECT 1") == "1"

        until("PostgreSQL answers", up, pause=0.1)
        return self

    def kill(self):
        """Ends its first process as a crash does; the others end when they see that."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def ask(self, statement):
        command = [*program("psql"), "-h", self.folder, "-U", "gavel", "-Atc", statement, "postgres"]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()

    def close(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
