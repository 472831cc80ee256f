"""python3 -m unittest discover benches/peers"""

import json
import tempfile
import unittest
from pathlib import Path

import workloads


class Parsing(unittest.TestCase):
    def test_a_verdict_ends_the_text(self):
        for text, score in {
            "Good work. [RESULT] 4": 4,
            "Good. [RESULT] 4\n": 4,
            "Good. [result]: (3)": 3,
            "So the overall score is: Score: 2": 2,
            "I give it a score of 5": 5,
            "Score: 4/5": 4,
            "Score: 4 out of 5": 4,
            "[RESULT] 4 because it is good": None,
            "[RESULT] 9": None,
            "[RESULT] 0": None,
            "It is good.": None,
            "": None,
        }.items():
            self.assertEqual(workloads.parse_verdict(text), score, text)


class Sharing(unittest.TestCase):
    def test_what_prompts_share_is_computed_once(self):
        prompts = [[1, 2, 3, 4], [1, 2, 3, 5], [1, 2, 9], [7]]
        self.assertEqual(workloads.unshared(prompts), 4 + 1 + 1 + 1)
        self.assertEqual(workloads.unshared(list(reversed(prompts))), 7)
        self.assertAlmostEqual(workloads.ceiling(prompts), 12 / 7)
        self.assertEqual(workloads.unshared([[1, 2], [1, 2]]), 2)
        self.assertEqual(workloads.unshared([[1, 2], [1, 2, 3]]), 3)

    def test_labels_go_on_from_what_they_share(self):
        tokenized = [[1, 2, 30, label] for label in (41, 42, 43)]
        self.assertEqual(workloads.forced_and_labels(tokenized), ([1, 2, 30], [41, 42, 43]))
        with self.assertRaises(ValueError):
            workloads.forced_and_labels([[1, 2], [1, 2, 3]])
        self.assertEqual(workloads.labels_among([{"id": 41}, {"id": 5}], [41, 42]), 1)


class Data(unittest.TestCase):
    def test_groups_hold_different_responses_to_one_instruction(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            (folder / "absolute").mkdir()
            (folder / "pairwise").mkdir()
            rubric = {"criteria": "Right?", "scores": {"1": "no", "2": "yes"}}
            absolute = [
                {"instruction": q, "response": "r", "reference": f"best {q}", "rubric": rubric} for q in "aabc"
            ]
            pairs = [
                {"instruction": q, "response_a": a, "response_b": b}
                for q, a, b in [("a", "1", "2"), ("a", "2", "3"), ("b", "1", "1"), ("c", "1", "2"), ("c", "3", "4")]
            ]
            write = lambda path, items: path.write_text("".join(json.dumps(item) + "\n" for item in items))
            write(folder / "absolute" / "prometheus_vicuna.jsonl", absolute)
            write(folder / "pairwise" / "vicuna80_human.jsonl", pairs)
            bodies = workloads.reward(folder, 2, 3)
            self.assertEqual([(b["instruction"], b["response"]) for b in bodies],
                             [(q, r) for q in "ac" for r in "123"])
            self.assertEqual({b["reference_answer"] for b in bodies}, {"best a", "best c"})
            self.assertEqual({(b["mode"], b["prompt"]) for b in bodies}, {("score", "plain")})
            self.assertEqual(len(workloads.feedback(folder, 3)), 3)
            mixed = workloads.shuffled(bodies, 1)
            self.assertEqual(mixed, workloads.shuffled(bodies, 1))
            self.assertCountEqual([b["response"] for b in mixed], [b["response"] for b in bodies])


class Tables(unittest.TestCase):
    def test_a_table_is_markdown(self):
        text = workloads.table([{"a": 1.23456, "b": None}], ["a", "b"])
        self.assertEqual(text, "| a | b |\n| --- | --- |\n| 1.23 |  |")


if __name__ == "__main__":
    unittest.main()
