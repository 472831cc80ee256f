import json
import tempfile
import unittest
from pathlib import Path

import floor
import gpu
import shapes


class Shapes(unittest.TestCase):
    def test_the_large_one_is_prometheus(self):
        # The published number of parameters of Mistral-7B.
        self.assertEqual(shapes.parameters(shapes.SHAPES["7b"]), 7_241_732_096)

    def test_a_folder_holds_what_its_header_says(self):
        with tempfile.TemporaryDirectory() as folder:
            shape = shapes.write(Path(folder) / "tiny", "tiny")
            data = (Path(folder) / "tiny" / "model.safetensors").read_bytes()
            length = int.from_bytes(data[:8], "little")
            header = json.loads(data[8 : 8 + length])
            ends = [entry["data_offsets"][1] for entry in header.values()]
            self.assertEqual(8 + length + max(ends), len(data))
            self.assertEqual(max(ends), 2 * shapes.parameters(shape))
            self.assertEqual(header["model.norm.weight"]["shape"], [64])

    def test_every_byte_has_a_token(self):
        vocabulary = shapes.tokenizer()["model"]["vocab"]
        self.assertEqual(len(vocabulary), 258)
        self.assertEqual(shapes.ids("a é"), [vocabulary[text] for text in ["a", "Ġ", "Ã", "©"]])

    def test_the_demo_model_has_its_published_size(self):
        # Its embeddings are its last layer, too.
        tied = shapes.elements((shapes.DEMO["vocab_size"], shapes.DEMO["hidden_size"]))
        self.assertEqual(shapes.parameters(shapes.DEMO) - tied, 134_515_008)

    def test_values_are_small_and_of_both_signs(self):
        values = [int.from_bytes(pair, "little") for pair in zip(*[iter(shapes.noise(1000, 1))] * 2)]
        self.assertEqual({value >> 7 & 0xFF for value in values}, {127 - 6})
        self.assertEqual({value >> 15 for value in values}, {0, 1})


class Requests(unittest.TestCase):
    def test_prompts_share_what_they_should(self):
        args = gpu.parse(["--prompt-tokens", "100"])
        alone = gpu.bodies(args, "score", 2, (10, 2.0), 1)
        self.assertNotEqual(alone[0]["response"][:4], alone[1]["response"][:4])
        shared = gpu.bodies(args, "score", 2, (10, 2.0), 1, shared=40)
        words = [request["response"].split() for request in shared]
        self.assertEqual(words[0][:20], words[1][:20])
        self.assertNotEqual(words[0][20:], words[1][20:])

    def test_prompts_of_letters_are_exact(self):
        args = gpu.parse(["--prompt-tokens", "300"])
        for shared in 0, 100:
            exact = gpu.bodies(args, "score", 3, (40, 5.5), 1, shared=shared, letters=True)
            self.assertEqual([len(request["response"]) for request in exact], [260] * 3)

    def test_a_prompts_frame_is_what_is_around_its_text(self):
        post = lambda request: {"debug": {"prompt": f"[user] {request['response']} ?\n"}}  # noqa: E731
        self.assertEqual(gpu.frame(post), ("[user] ", " ?\n"))

    def test_sizes_follow_the_models_own_count(self):
        post = lambda request: {"usage": {"prompt_tokens": 7 + 3 * len(request["response"].split())}}  # noqa: E731
        self.assertEqual(gpu.calibrate(post), (7, 3))
        post = lambda request: {"usage": {"prompt_tokens": 7 + len(request["response"])}}  # noqa: E731
        self.assertEqual(gpu.calibrate(post, letters=True)[0], 7)


class Floor(unittest.TestCase):
    def test_the_arithmetic_of_the_7b_shape(self):
        shape = shapes.SHAPES["7b"]
        self.assertEqual(floor.kv_bytes(shape), 131_072)
        # 800 tokens at 700e12 operations/s: about 60 prompts a second.
        card = {"products": 700e12, "copies": 3e12}
        weights = shapes.parameters(shape), 2 * shapes.parameters(shape)
        self.assertAlmostEqual(floor.seconds(shape, weights, card, 60, 60, 800, 0), 1.0, delta=0.05)
        # 128 steps over all weights.
        alone = floor.seconds(shape, weights, card, 1, 1, 0, 128)
        self.assertAlmostEqual(alone, 128 * (14.48e9 + 64 * 131_072) / 3e12, delta=0.01)


if __name__ == "__main__":
    unittest.main()
