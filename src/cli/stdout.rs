//! Standard output. A reader that has gone, such as `head`, ends the program quietly, and a full disk with an error;
//! `println!` would panic.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

/// Prints like `print!`.
macro_rules! out {
    ($($arg:tt)*) => { $crate::cli::stdout::write(format_args!($($arg)*)) };
}

/// Prints like `println!`.
macro_rules! outln {
    () => { $crate::cli::stdout::write(format_args!("\n")) };
    ($($arg:tt)*) => { $crate::cli::stdout::write(format_args!("{}\n", format_args!($($arg)*))) };
}

/// Writes to standard output, and ends the program if that is not possible.
#[allow(clippy::print_stderr, reason = "this is where errors go")]
pub(super) fn write(text: Arguments<'_>) {
    let mut stdout = std::io::stdout().lock();
    let Err(error) = stdout.write_fmt(text).and_then(|()| stdout.flush()) else { return };
    if error.kind() == ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    eprintln!("gavel: cannot write to standard output: {error}");
    std::process::exit(1);
}
