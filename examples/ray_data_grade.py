"""Grades a Parquet file across a Ray cluster: python3 ray_data_grade.py responses.parquet graded --rubric helpfulness

The file has the columns `instruction` and `response`. The folder `graded` gets every row of it, with the columns
`gavel_reward`, `gavel_score`, `gavel_label_mass`, `gavel_feedback` and `gavel_error`: a row that could not be graded has
the reason in the last one, and is not left out. Without a file, rows that are made up are graded. Ray runs on this
machine, or on the cluster that RAY_ADDRESS names, whose nodes need gavel_client and must reach the server.
"""

import argparse
import os
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import ray
from gavel_client import GavelError, Judge, Problem
from ray.data import ActorPoolStrategy

COLUMNS = {
    "gavel_reward": pa.float64(),
    "gavel_score": pa.int64(),
    "gavel_label_mass": pa.float64(),
    "gavel_feedback": pa.string(),
    "gavel_error": pa.string(),
}


class Grader:
    """An actor that sends one batch after the other over its own connection."""

    def __init__(self, url: str, rubric: str, mode: str) -> None:
        self.judge = Judge(url, rubric=rubric, mode=mode)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """The batch with the verdicts' columns."""
        verdicts = self.grade({name: batch[name].to_pylist() for name in ("instruction", "response")})
        for name, kind in COLUMNS.items():
            batch = batch.append_column(name, pa.array(verdicts[name], type=kind))
        return batch

    def grade(self, rows: dict[str, list[str]]) -> dict[str, list]:
        """The verdicts' columns. If the whole request fails after the client's retries, all its rows have the error."""
        try:
            return self.judge(rows)
        except GavelError as error:
            reason = error.code if isinstance(error, Problem) else type(error).__name__
            count = len(rows["response"])
            return {**{name: [None] * count for name in COLUMNS}, "gavel_error": [reason] * count}


def made_up(file: Path) -> None:
    """Responses of which two cannot be graded."""
    rows = [
        {
            "id": number,
            "instruction": f"Write a sentence with {number} words.",
            "response": f"Attempt {number % 8 + 1} of 8 at a sentence with {number} words.",
        }
        for number in range(998)
    ]
    rows.append({"id": 998, "instruction": "Write a sentence.", "response": None})
    rows.append({"id": 999, "instruction": "Write a sentence.", "response": "Wug blicket dax."})
    pq.write_table(pa.Table.from_pylist(rows), file)


def grade(source: str, target: str, options: argparse.Namespace) -> None:
    """Grades a file or a folder of Parquet into a folder."""
    # One block per request, so that a single file is spread over all actors.
    rows = ray.data.read_parquet(source).repartition(target_num_rows_per_block=options.batch)
    graded = rows.map_batches(
        Grader,
        fn_constructor_args=(options.url, options.rubric, options.mode),
        batch_format="pyarrow",
        batch_size=options.batch,
        # Number of requests in flight, whatever the size of the cluster. An actor mostly waits.
        compute=ActorPoolStrategy(size=options.requests),
        num_cpus=0.1,
    )
    graded.write_parquet(target)


def report(target: str) -> None:
    """A summary: the number of rows, the mean reward, and the errors of rows without a reward."""
    table = pq.read_table(target, columns=list(COLUMNS))
    rewards = [reward for reward in table["gavel_reward"].to_pylist() if reward is not None]
    print(f"{len(table)} rows, {len(rewards)} graded, mean reward {sum(rewards) / max(1, len(rewards)):.3f}")
    for reason in table["gavel_error"].value_counts().to_pylist():
        if reason["values"]:
            print(f"{reason['counts']} not graded: {reason['values']}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Grades a Parquet file across a Ray cluster.")
    parser.add_argument("source", nargs="?", help="file or folder; default: rows that are made up")
    parser.add_argument("target", nargs="?", help="folder for the graded rows")
    parser.add_argument("--url", default=os.environ.get("GAVEL_URL", "http://127.0.0.1:8080"))
    parser.add_argument("--rubric", default="instruction_following")
    parser.add_argument("--mode", default="score", choices=["score", "feedback"])
    parser.add_argument("--batch", type=int, default=128, help="rows of a request (default: 128)")
    parser.add_argument("--requests", type=int, default=4, help="requests at once (default: 4)")
    options = parser.parse_args()
    if options.source and not options.target:
        parser.error("where do the graded rows go?")
    ray.data.DataContext.get_current().enable_progress_bars = False
    with tempfile.TemporaryDirectory() as folder:
        source, target = options.source, options.target
        if source is None:
            source, target = f"{folder}/responses.parquet", f"{folder}/graded"
            made_up(Path(source))
        grade(source, target, options)
        report(target)


if __name__ == "__main__":
    main()
