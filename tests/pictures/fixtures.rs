//! A judge that needs no training, and its eyes: all weights are written here, in closed form.
//!
//! The eyes turn each patch of a picture into one of eight vectors, by the corner of the RGB cube that its mean colour is
//! nearest to. The judge, one layer of a Llama model, sees the last picture of its prompt, and the first and the last
//! colour word of its text. It writes the colour that it sees, capitalised, which it does not read itself, and ends its
//! turn. After a `]` it says 5 if all that it read is what it sees, and else 1; and A or B by whether the first word or
//! the last one is. Without a picture the score is 1.
//!
//! Head 0 copies what the last picture shows, head 1 the first colour word, head 2 the last one, head 3 all of them; the
//! feed-forward part multiplies, which tells whether two are equal.

use crate::gguf::{self, Matrix, Tensor, Value};

/// The corners of the RGB cube: number 4r + 2g + b.
pub(crate) const COLOURS: [&str; 8] = ["black", "blue", "green", "cyan", "red", "magenta", "yellow", "white"];
const VERDICTS: [&str; 7] = ["1", "2", "3", "4", "5", "A", "B"];
const CONTROL: [&str; 2] = ["<|im_start|>", "<|im_end|>"];
const TEMPLATE: &str = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}\
                        {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// Patches in a row of a picture, and pixels in a row of a patch.
pub(crate) const SIDE: usize = 4;
pub(crate) const PATCH: usize = 16;
/// The context of the judge, in tokens.
const CONTEXT: u32 = 4096;

/// The model's width, its heads, the width of a head, and the feed-forward width.
const D: usize = 64;
const HEADS: usize = 4;
const HEAD: usize = 16;
const FF: usize = 32;
/// Places in the model's state: one that is always 1, the colour that a token reads as, and the one that it shows.
const ONE: usize = 0;
const READ: usize = 1;
const SEEN: usize = 9;
/// What kind of token it is.
const IS_READ: usize = 17;
const IS_SEEN: usize = 18;
const IS_RESULT: usize = 19;
const IS_SAID: usize = 20;
/// What the heads find: the colour seen, the first word, the last word, all words.
const SAW: usize = 24;
const FIRST_WORD: usize = 32;
const LAST_WORD: usize = 40;
const WORDS: usize = 48;
/// How well all words, the first one and the last one match what is seen.
const ALL: usize = 56;
const FIRST: usize = 57;
const LAST: usize = 58;
/// A pair of a head that RoPE does not turn, and one that it turns by 0.001 a token.
const STILL: usize = 14;
const SLOW: usize = 4;

fn capitalised(word: &str) -> String {
    word[..1].to_uppercase() + &word[1..]
}

/// A byte-level vocabulary: 256 bytes, then the words with a space before them, built up by merges.
fn vocabulary() -> (Vec<String>, Vec<String>) {
    let shown = |byte: &u32| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let mut hidden = 256..;
    let name = |byte: u32| if shown(&byte) { byte } else { hidden.next().unwrap_or_default() };
    let mut tokens: Vec<String> =
        (0..256).map(name).map(|code| char::from_u32(code).unwrap_or_default().to_string()).collect();
    let mut merges = Vec::new();
    let colours = COLOURS.map(str::to_owned).into_iter();
    let words = colours.chain(COLOURS.map(capitalised)).chain(VERDICTS.map(str::to_owned));
    for word in words {
        let text = format!("Ġ{word}");
        let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).skip(1).chain([text.len()]).collect();
        for pair in ends.windows(2) {
            let (before, whole) = (&text[..pair[0]], &text[..pair[1]]);
            if !tokens.iter().any(|token| token == whole) {
                merges.push(format!("{before} {}", &text[pair[0]..pair[1]]));
                tokens.push(whole.to_owned());
            }
        }
    }
    (tokens, merges)
}

/// The judge's file.
pub(crate) fn judge() -> Vec<u8> {
    let (mut tokens, merges) = vocabulary();
    let plain = tokens.len();
    tokens.extend(CONTROL.map(str::to_owned));
    let id = |text: &str| tokens.iter().position(|token| token == text).unwrap();
    let word = |text: &str| id(&format!("Ġ{text}"));

    let (mut embedding, mut output) = (Matrix::new(tokens.len(), D), Matrix::new(tokens.len(), D));
    (0..tokens.len()).for_each(|token| embedding.set(token, ONE, 1.0));
    for (colour, name) in COLOURS.into_iter().enumerate() {
        embedding.set(word(name), READ + colour, 1.0);
        embedding.set(word(name), IS_READ, 1.0);
        embedding.set(word(&capitalised(name)), IS_SAID, 1.0);
        output.set(word(&capitalised(name)), SAW + colour, 8.0);
    }
    embedding.set(id("]"), IS_RESULT, 1.0);
    output.set(id(CONTROL[1]), IS_SAID, 100.0);
    VERDICTS.iter().for_each(|verdict| output.set(word(verdict), IS_RESULT, 100.0));
    for (verdict, place, weight) in [("5", ALL, 10.0), ("1", ALL, -10.0), ("A", FIRST, 10.0), ("B", LAST, 10.0)] {
        output.set(word(verdict), place, weight);
    }

    let square = || Matrix::new(D, D);
    let [mut q, mut k, mut v, mut o] = [square(), square(), square(), square()];
    // Which tokens a head looks at, what it takes of them, where to, and how much it prefers the nearer ones.
    let heads = [
        (IS_SEEN, SEEN, SAW, 512.0),
        (IS_READ, READ, FIRST_WORD, -512.0),
        (IS_READ, READ, LAST_WORD, 512.0),
        (IS_READ, READ, WORDS, 0.0_f32),
    ];
    for (head, (flag, source, to, near)) in heads.into_iter().enumerate() {
        let at = head * HEAD;
        q.set(at + STILL, ONE, 8.0 + 2.0 * (-near).max(0.0));
        k.set(at + STILL, flag, 1.0);
        q.set(at + SLOW, ONE, near);
        k.set(at + SLOW, flag, 1.0);
        for colour in 0..COLOURS.len() {
            v.set(at + colour, source + colour, 1.0);
            o.set(to + colour, at + colour, 1.0);
        }
    }

    let [mut gate, mut up, mut down] = [Matrix::new(FF, D), Matrix::new(FF, D), Matrix::new(D, FF)];
    for (number, (said, to)) in [(FIRST_WORD, FIRST), (LAST_WORD, LAST), (WORDS, ALL)].into_iter().enumerate() {
        for colour in 0..COLOURS.len() {
            let row = 8 * number + colour;
            gate.set(row, SAW + colour, 50.0);
            up.set(row, said + colour, 1.0);
            down.set(to, row, 0.003);
        }
    }
    gate.set(24, ONE, 50.0);
    up.set(24, ONE, 1.0);
    // 21 is a match, 10.5 half of one.
    down.set(ALL, 24, -0.003 * 16.0);

    let ones = || Tensor::from(vec![1.0; D]);
    let tensors = [
        ("token_embd.weight", embedding.into()),
        ("output.weight", output.into()),
        ("output_norm.weight", ones()),
        ("blk.0.attn_norm.weight", ones()),
        ("blk.0.ffn_norm.weight", ones()),
        ("blk.0.attn_q.weight", q.into()),
        ("blk.0.attn_k.weight", k.into()),
        ("blk.0.attn_v.weight", v.into()),
        ("blk.0.attn_output.weight", o.into()),
        ("blk.0.ffn_gate.weight", gate.into()),
        ("blk.0.ffn_up.weight", up.into()),
        ("blk.0.ffn_down.weight", down.into()),
    ];
    let kinds = std::iter::repeat_n(1, plain).chain(std::iter::repeat_n(3, CONTROL.len())).collect();
    let number = |number: usize| Value::U32(u32::try_from(number).unwrap());
    let fields = [
        ("general.name", Value::Text("closed-form judge".into())),
        ("llama.block_count", Value::U32(1)),
        ("llama.context_length", Value::U32(CONTEXT)),
        ("llama.embedding_length", number(D)),
        ("llama.feed_forward_length", number(FF)),
        ("llama.attention.head_count", number(HEADS)),
        ("llama.attention.head_count_kv", number(HEADS)),
        ("llama.rope.dimension_count", number(HEAD)),
        ("llama.rope.freq_base", Value::F32(1e12)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-6)),
        ("llama.vocab_size", number(tokens.len())),
        ("tokenizer.ggml.model", Value::Text("gpt2".into())),
        ("tokenizer.ggml.pre", Value::Text("gpt-2".into())),
        ("tokenizer.ggml.bos_token_id", number(plain)),
        ("tokenizer.ggml.eos_token_id", number(plain + 1)),
        ("tokenizer.ggml.add_bos_token", Value::Bool(false)),
        ("tokenizer.chat_template", Value::Text(TEMPLATE.into())),
        ("tokenizer.ggml.merges", Value::Texts(merges)),
        ("tokenizer.ggml.token_type", Value::I32s(kinds)),
        ("tokenizer.ggml.tokens", Value::Texts(tokens)),
    ];
    gguf::file("llama", &fields, &tensors.map(|(name, tensor)| (name.to_owned(), tensor)))
}

/// The file of its eyes, which see pictures of [`SIDE`] × [`SIDE`] patches.
pub(crate) fn eyes() -> Vec<u8> {
    /// Features of a patch: red, green, blue, and one that is 0.
    const FEATURES: usize = 4;
    const STEEPNESS: f32 = 16.0;
    let pixels = PATCH * PATCH;
    let mut means = vec![0.0; FEATURES * 3 * pixels];
    for channel in 0..3 {
        let start = (channel * 3 + channel) * pixels;
        // The mean of the channel, exact for a power of two.
        means[start..start + pixels].fill(1.0 / pixels as f32);
    }
    let means = Tensor { sizes: vec![PATCH, PATCH, 3, FEATURES], values: means };
    let (mut corners, mut seen) = (Matrix::new(8, FEATURES), Matrix::new(D, 8));
    for colour in 0..8 {
        for (channel, shift) in [2, 1, 0].into_iter().enumerate() {
            corners.set(colour, channel, if colour >> shift & 1 == 1 { STEEPNESS } else { -STEEPNESS });
        }
        for place in [ONE, IS_SEEN, SEEN + colour] {
            seen.set(place, colour, 1.0 / STEEPNESS);
        }
    }
    let zeros = || Matrix::new(FEATURES, FEATURES);
    let tensors = [
        ("v.patch_embd.weight", means),
        ("v.position_embd.weight", Matrix::new(SIDE * SIDE, FEATURES).into()),
        // This projector leaves out the last block, so this one never runs.
        ("v.blk.0.attn_out.weight", zeros().into()),
        ("v.blk.0.ffn_up.weight", zeros().into()),
        ("v.blk.0.ffn_down.weight", zeros().into()),
        // The steepness at the own corner, minus that or less at all others, of which GELU leaves it and 0.
        ("mm.0.weight", corners.into()),
        ("mm.0.bias", vec![-2.0 * STEEPNESS; 8].into()),
        ("mm.2.weight", seen.into()),
        ("mm.2.bias", vec![0.0; D].into()),
    ];
    let number = |number: usize| Value::U32(u32::try_from(number).unwrap());
    let fields = [
        ("general.name", Value::Text("closed-form eyes".into())),
        ("clip.projector_type", Value::Text("mlp".into())),
        ("clip.has_vision_encoder", Value::Bool(true)),
        ("clip.use_gelu", Value::Bool(true)),
        ("clip.vision.image_size", number(SIDE * PATCH)),
        ("clip.vision.patch_size", number(PATCH)),
        ("clip.vision.embedding_length", number(FEATURES)),
        ("clip.vision.feed_forward_length", number(FEATURES)),
        ("clip.vision.projection_dim", number(D)),
        ("clip.vision.block_count", Value::U32(1)),
        ("clip.vision.attention.head_count", Value::U32(1)),
        ("clip.vision.attention.layer_norm_epsilon", Value::F32(1e-5)),
        ("clip.vision.image_mean", Value::F32s(vec![0.5; 3])),
        ("clip.vision.image_std", Value::F32s(vec![0.5; 3])),
    ];
    gguf::file("clip", &fields, &tensors.map(|(name, tensor)| (name.to_owned(), tensor)))
}
