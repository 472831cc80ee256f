"""What a row is, and what it has to work with."""

import contextlib
import random
import tempfile
from pathlib import Path

from server import Gavel

ROWS = {}


class Row:
    def __init__(self, name, done, holds, quick, run):
        self.name, self.done, self.holds, self.quick, self.run = name, done, holds, quick, run


def row(name, done, holds, quick=False):
    """Makes a row of a function, which returns what was seen, and raises `Broken` if something does not hold. `quick`
    rows are those of --quick."""

    def register(run):
        ROWS[name] = Row(name, done, holds, quick, run)
        return run

    return register


class Setup(contextlib.ExitStack):
    """The servers and folders of one row; they end with it."""

    def __init__(self, program, size, seed):
        super().__init__()
        self.program, self.size = program, size
        self.random = random.Random(seed)
        self.folder = Path(self.enter_context(tempfile.TemporaryDirectory(prefix="gavel-faults-")))

    def pick(self, quick, usual, full=None):
        """A number for the size of the run."""
        return {"quick": quick, "usual": usual, "full": full or usual}[self.size]

    def gavel(self, settings=(), answers="", name="gavel", start=True, **options):
        gavel = Gavel(self.program, self.folder / name, settings, answers, **options)
        self.callback(gavel.close)
        return gavel.start() if start else gavel
