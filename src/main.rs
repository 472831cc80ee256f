//! The command line of Gavel: parse it, and call the library.

use std::process::ExitCode;

/// Allocating is a fifth of what the service itself costs; docs/performance.md has the figures.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    #[cfg(all(target_os = "linux", feature = "llama-cpp"))]
    bound_spinning();
    gavel::cli::main()
}

/// Starts this program anew with a bound on how long the threads of llama.cpp spin at a barrier before they sleep.
///
/// They meet at some hundred barriers a token. By default libgomp spins for milliseconds there: on a machine that is
/// busy with other work, a thread that spins keeps its core from the very thread that it waits for.
/// docs/performance.md has what each bound costs. libgomp reads its settings before `main`, so only a new start can
/// change them; the process stays the same one. Whoever has set one of them has decided.
#[cfg(all(target_os = "linux", feature = "llama-cpp"))]
fn bound_spinning() {
    use std::env;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    if ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"].iter().any(|name| env::var_os(name).is_some()) {
        return;
    }
    let Ok(program) = env::current_exe() else { return };
    // A loader that was told to run this program would take our arguments for its own.
    if program.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ld")) {
        return;
    }
    let mut arguments = env::args_os();
    let mut again = Command::new(&program);
    again.arg0(arguments.next().unwrap_or(program.into_os_string())).args(arguments).env("GOMP_SPINCOUNT", "800");
    // It returns only if that cannot be done. Then waiting is what it is by default.
    let _ = again.exec();
}
