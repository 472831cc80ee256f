//! The binding's own bare loop: how fast llama-cpp-2 reads a prompt and decodes after it, with nothing around it.
//! `benches/peers/run` sets Gavel beside it, on the same prompt.
//!
//!     cargo bench --bench bare_loop -- --model FILE.gguf --prompt FILE.txt
//!     cargo bench --bench bare_loop -- --model FILE.gguf --prompt FILE.txt --beside 3000 [--streams]
//!
//! Prints one line of JSON: tokens a second of the prompt, of one sequence, and of several together. With
//! `--beside`, the KV pool also holds that many tokens of a sequence that does nothing: what they cost the others
//! is what a unified pool pays for being one. `--streams` gives each sequence a part of its own instead.
#![allow(clippy::print_stdout, reason = "its answer")]

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::token::LlamaToken;

type Failure = Box<dyn std::error::Error>;

#[derive(Parser)]
struct Args {
    /// A GGUF file.
    #[arg(long)]
    model: PathBuf,
    /// A file with the prompt, control tokens written out.
    #[arg(long)]
    prompt: PathBuf,
    /// Tokens to decode after it.
    #[arg(long, default_value_t = 64)]
    tokens: usize,
    /// Sequences that decode together.
    #[arg(long, default_value_t = 8)]
    sequences: i32,
    /// Tokens of one step of reading the prompt.
    #[arg(long, default_value_t = 256)]
    chunk: usize,
    /// Tokens of an idle sequence in the pool.
    #[arg(long, default_value_t = 0)]
    beside: usize,
    /// A KV cache a sequence, in place of one pool.
    #[arg(long)]
    streams: bool,
    /// Attention in plain matrix products, in place of flash attention.
    #[arg(long)]
    no_flash: bool,
    /// Weights as they are in the file, in place of repacked ones.
    #[arg(long)]
    no_repack: bool,
    /// Threads; 0 takes one a core.
    #[arg(long, default_value_t = 0)]
    threads: i32,
    /// What cargo says to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let mut backend = LlamaBackend::init()?;
    backend.void_logs();
    let mut params = std::pin::pin!(LlamaModelParams::default());
    if args.no_repack {
        params.as_mut().add_cpu_buft_override(c".*");
    }
    let model = LlamaModel::load_from_file(&backend, &args.model, &params)?;
    let vocab = model.vocab();
    let prompt = vocab.tokenize(&std::fs::read(&args.prompt)?, vocab.should_add_bos(), true);

    let threads = match args.threads {
        0 => i32::try_from(std::thread::available_parallelism()?.get())?,
        threads => threads,
    };
    let sequences = usize::try_from(args.sequences)?;
    let longest = (prompt.len() + args.tokens).max(args.beside);
    // In one pool the sequences share the prompt; of their own caches, all are as long as the longest.
    let cells = match args.streams {
        true => longest.next_multiple_of(256) * (sequences + 1),
        false => prompt.len() + args.beside + args.tokens * sequences,
    };
    let chunk = u32::try_from(args.chunk)?;
    let params = LlamaContextParams::default()
        .with_n_ctx(NonZeroU32::new(u32::try_from(cells.next_multiple_of(256))?))
        .with_n_batch(chunk)
        .with_n_ubatch(chunk)
        .with_n_seq_max(u32::try_from(args.sequences + 1)?)
        .with_kv_unified(!args.streams)
        .with_flash_attention_policy(i32::from(!args.no_flash))
        .with_n_threads(threads)
        .with_n_threads_batch(threads)
        .with_no_perf(true);
    let mut context = model.new_context(&backend, params)?;
    let mut batch = LlamaBatch::new(args.chunk, 1);

    // The first pass warms caches up and does not count.
    read(&mut context, &mut batch, &prompt, args.chunk, 0)?;
    context.clear_kv_cache();
    let idle: Vec<_> = prompt.iter().copied().cycle().take(args.beside).collect();
    read(&mut context, &mut batch, &idle, args.chunk, args.sequences)?;
    let prefill = timed(prompt.len(), || read(&mut context, &mut batch, &prompt, args.chunk, 0))?;
    let alone = timed(args.tokens, || decode(&mut context, &mut batch, prompt.len(), args.tokens, 1))?;
    context.clear_kv_cache_seq(Some(0), Some(u32::try_from(prompt.len())?), None)?;
    for sequence in 1..args.sequences {
        context.copy_kv_cache_seq(0, sequence, None, None)?;
    }
    let together =
        timed(args.tokens * sequences, || decode(&mut context, &mut batch, prompt.len(), args.tokens, args.sequences))?;
    println!(
        "{{\"prompt_tokens\": {}, \"beside\": {}, \"prefill\": {prefill}, \"decode_1\": {alone}, \
         \"decode_{}\": {together}}}",
        prompt.len(),
        args.beside,
        args.sequences
    );
    Ok(())
}

/// Tokens a second.
fn timed(tokens: usize, work: impl FnOnce() -> Result<(), Failure>) -> Result<f64, Failure> {
    let started = Instant::now();
    work()?;
    Ok(tokens as f64 / started.elapsed().as_secs_f64())
}

/// Reads a prompt into a sequence, a chunk a step, with logits of its last token only.
fn read(
    context: &mut LlamaContext<'_>,
    batch: &mut LlamaBatch<'_>,
    prompt: &[LlamaToken],
    chunk: usize,
    sequence: i32,
) -> Result<(), Failure> {
    let mut position = 0;
    for tokens in prompt.chunks(chunk) {
        batch.clear();
        for token in tokens {
            batch.add(*token, i32::try_from(position)?, &[sequence], position + 1 == prompt.len())?;
            position += 1;
        }
        context.decode(batch)?;
    }
    Ok(())
}

/// Decodes greedily, a token a step for each sequence.
fn decode(
    context: &mut LlamaContext<'_>,
    batch: &mut LlamaBatch<'_>,
    from: usize,
    tokens: usize,
    sequences: i32,
) -> Result<(), Failure> {
    // Where the loop begins does not matter for its speed; that each step depends on the one before does.
    let mut next = vec![LlamaToken(0); usize::try_from(sequences)?];
    for position in from..from + tokens {
        batch.clear();
        for (sequence, token) in (0..sequences).zip(&next) {
            batch.add(*token, i32::try_from(position)?, &[sequence], true)?;
        }
        context.decode(batch)?;
        for (row, token) in (0..sequences).zip(&mut next) {
            let logits = context.get_logits_ith(row).iter().enumerate();
            let best = logits.max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(id, _)| id);
            *token = LlamaToken(i32::try_from(best)?);
        }
    }
    Ok(())
}
