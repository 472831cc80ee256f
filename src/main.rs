//! The program: parses the command line and calls the library.

use std::process::ExitCode;

/// Reduces the CPU time of the service by a fifth; docs/performance.md has the figures.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    gavel::cli::main()
}
