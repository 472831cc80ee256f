//! The command line of Gavel: parse it, and call the library.

use std::process::ExitCode;

/// Allocating is a fifth of what the service itself costs; docs/performance.md has the figures.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    gavel::cli::main()
}
