//! The command line of Gavel: parse it, and call the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    gavel::cli::main()
}
