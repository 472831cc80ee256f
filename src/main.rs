//! The program: parses the command line and calls the library.

use std::process::ExitCode;

/// Reduces the CPU time of the service by a fifth; docs/performance.md has the figures.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    #[cfg(all(target_os = "linux", feature = "llama-cpp"))]
    bound_spinning();
    gavel::cli::main()
}

/// Restarts this program (`exec`) with a limit on how long llama.cpp's threads spin at a barrier before they sleep.
///
/// They meet at some hundred barriers for each token. By default libgomp spins there for milliseconds: on a busy
/// machine, a spinning thread occupies the core that the thread it waits for needs. docs/performance.md has the cost of
/// each limit. libgomp reads its settings before `main`, so only a restart can change them; the process id stays the
/// same. Settings of the user take precedence.
#[cfg(all(target_os = "linux", feature = "llama-cpp"))]
fn bound_spinning() {
    use std::env;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    if ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"].iter().any(|name| env::var_os(name).is_some()) {
        return;
    }
    let Ok(program) = env::current_exe() else { return };
    // If a loader (ld.so) was called with this program as its argument, it would take our arguments as its own.
    if program.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ld")) {
        return;
    }
    let mut arguments = env::args_os();
    let mut again = Command::new(&program);
    again.arg0(arguments.next().unwrap_or(program.into_os_string())).args(arguments).env("GOMP_SPINCOUNT", "800");
    // `exec` returns only on failure. Then the default spinning stays.
    let _ = again.exec();
}
