//! A PostgreSQL of a test's own: Debian's package, in a folder that is deleted.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A running PostgreSQL, reached by a socket in its folder.
pub(crate) struct Postgres {
    process: Child,
    folder: tempfile::TempDir,
}

/// The folder of PostgreSQL's programs, which Debian keeps off the PATH.
fn programs() -> Option<PathBuf> {
    let found =
        std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let mut found: Vec<PathBuf> =
        found.map(|version| version.join("bin")).filter(|bin| bin.join("initdb").exists()).collect();
    found.sort();
    let on_path =
        std::env::var_os("PATH").into_iter().flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    found.extend(on_path.filter(|folder| folder.join("initdb").exists()));
    found.pop()
}

/// A program of PostgreSQL, which refuses to run as root.
fn program(name: &str) -> Command {
    let path = programs().unwrap().join(name);
    let as_root = Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout == b"0\n");
    let mut command = if as_root { Command::new("setpriv") } else { Command::new(&path) };
    if as_root {
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(&path);
    }
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

impl Postgres {
    /// `None` where it is not installed; in CI, that is a failure.
    pub(crate) fn start() -> Option<Self> {
        if programs().is_none() {
            assert!(std::env::var_os("CI").is_none(), "this test needs PostgreSQL: apt-get install postgresql");
            return None;
        }
        // Sockets have short names.
        let folder = tempfile::Builder::new().prefix("pg").tempdir_in("/tmp").unwrap();
        // Not root's only, where the server runs as another user.
        let owned = Command::new("chown").arg("postgres").arg(folder.path()).stderr(Stdio::null()).status();
        drop(owned);
        let data = folder.path().join("data");
        let made =
            program("initdb").args(["-A", "trust", "-U", "gavel", "--no-sync", "-D"]).arg(&data).status().unwrap();
        assert!(made.success(), "initdb");
        let process = Self::spawn(folder.path(), &data);
        Some(Self { process, folder })
    }

    fn spawn(folder: &Path, data: &Path) -> Child {
        let mut server = program("postgres");
        server.arg("-D").arg(data).arg("-k").arg(folder);
        server.args(["-c", "listen_addresses=", "-c", "fsync=off"]).spawn().unwrap()
    }

    /// The URL of its database.
    pub(crate) fn url(&self) -> String {
        format!("postgres://gavel@localhost/postgres?host={}", self.folder.path().display())
    }

    /// Ends it as a crash does.
    pub(crate) fn stop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it again after [`Postgres::stop`].
    pub(crate) fn restart(&mut self) {
        self.process = Self::spawn(self.folder.path(), &self.folder.path().join("data"));
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}
