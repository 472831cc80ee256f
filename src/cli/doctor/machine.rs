//! What `gavel doctor` checks before the self-tests, because it costs nothing: this machine, and the configuration.

use std::fs::{OpenOptions, remove_file};
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use sysinfo::Disks;

use crate::app::model_store;
use crate::cli::lists::gigabytes;
use crate::config::{Config, EngineChoice};
use crate::models::{memory_available, memory_needed, package_index};
use crate::prompts::PromptLibrary;
use crate::rubrics::RubricLibrary;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Ok,
    /// It works, but slowly or not completely.
    Warn,
    Fail,
}

/// What was found, and what to do about it.
type Found = (Level, String);

/// Maximum time until a source of models answers.
const PATIENCE: Duration = Duration::from_secs(2);
/// With less free space than this, the next download may not fit.
const LITTLE: u64 = 1_000_000_000;

/// What is known of the model before it is loaded.
#[derive(Default)]
struct Needs {
    /// Whether it is on disk.
    here: bool,
    /// Size of its download.
    download: Option<u64>,
    memory: Option<u64>,
}

/// All checks by name. Those of the model are left out for engines that load none.
pub(super) async fn checks(config: &Config) -> Vec<(&'static str, Found)> {
    let rubrics = RubricLibrary::load(config.data_dir.join("rubrics"));
    let prompts = PromptLibrary::load(Some(&config.data_dir.join("prompts")));
    let mut checks = vec![
        ("rubrics", valid(rubrics.refused(), rubrics.list().len(), "rubrics")),
        (
            "prompts",
            match prompts {
                Ok(sets) => (Level::Ok, format!("{} prompt sets", sets.names().count())),
                Err(error) => (Level::Fail, error.to_string()),
            },
        ),
        ("data", folder(&config.data_dir, "rubrics and prompt sets cannot be added; use another one with --data-dir")),
        ("port", port(&config.host, config.port)),
    ];
    if matches!(config.engine, EngineChoice::Scripted | EngineChoice::Remote) {
        return checks;
    }
    let needs = match needs(config) {
        Ok(needs) => needs,
        Err(error) => {
            checks.push(("model", (Level::Fail, error)));
            return checks;
        }
    };
    let folder_of_models = folder(&config.cache_dir, "models cannot be stored; use another one with --cache-dir");
    checks.push(("cache", if needs.here { folder_of_models } else { required(folder_of_models) }));
    checks.push(("disk", disk(free_space(&config.cache_dir), needs.download, &config.cache_dir)));
    checks.push(("memory", memory(memory_available(), needs.memory)));
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    // The standard library counts the cores of a container's limit, too.
    let usable = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    checks.push(("threads", threads(config.llama_cpp.threads, usable, processors(&cpuinfo))));
    checks.push(("processor", processor(&cpuinfo)));
    let mut sources = Vec::new();
    if !config.offline && !needs.here {
        sources.push(("the hub", reach(&config.hub.endpoint).await));
        if let Some(index) = package_index().await {
            sources.push(("the package index", reach(&index).await));
        }
    }
    checks.push(("network", network(needs.here, config.offline, &sources)));
    checks
}

fn needs(config: &Config) -> Result<Needs, String> {
    let store = model_store(config).map_err(|error| error.to_string())?;
    let tokens = config.llama_cpp.tokens_in_memory();
    if let Some(path) = store.on_disk(&config.model).map_err(|error| error.to_string())? {
        return Ok(Needs { here: true, download: None, memory: memory_needed(&path, tokens).ok() });
    }
    let of = |tokens| store.list(tokens).into_iter().find(|model| model.name == config.model).map(|model| model.memory);
    Ok(Needs { here: false, download: of(0), memory: of(tokens) })
}

fn valid(refused: Vec<impl ToString>, count: usize, what: &str) -> Found {
    match refused.first() {
        None => (Level::Ok, format!("{count} {what}")),
        Some(error) => (Level::Fail, error.to_string()),
    }
}

/// Whether files can be made in a folder, or the folder itself.
fn folder(path: &Path, otherwise: &str) -> Found {
    let existing = path.ancestors().find(|path| path.is_dir()).unwrap_or(path);
    let probe = existing.join(format!(".gavel-doctor-{}", std::process::id()));
    match OpenOptions::new().write(true).create_new(true).open(&probe) {
        Ok(_) => {
            // What is left of a probe harms nobody.
            let _ = remove_file(&probe);
            let state = if existing == path { "is writable" } else { "can be created" };
            (Level::Ok, format!("{} {state}", path.display()))
        }
        Err(error) => (Level::Warn, format!("{} is not writable ({error}): {otherwise}", path.display())),
    }
}

fn required((level, text): Found) -> Found {
    (if level == Level::Warn { Level::Fail } else { level }, text)
}

fn port(host: &str, port: u16) -> Found {
    match TcpListener::bind((host, port)) {
        Ok(_) => (Level::Ok, format!("{host}:{port} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => (
            Level::Warn,
            format!("{host}:{port} is in use: start `gavel serve` with another --port, or 0 for a free one"),
        ),
        Err(error) => (Level::Fail, format!("cannot listen on {host}:{port} ({error}); change --host or --port")),
    }
}

/// Free space where a folder is or will be.
fn free_space(folder: &Path) -> Option<u64> {
    let folder = folder.ancestors().find_map(|path| path.canonicalize().ok())?;
    let disks = Disks::new_with_refreshed_list();
    let holding = disks.list().iter().filter(|disk| folder.starts_with(disk.mount_point()));
    holding.max_by_key(|disk| disk.mount_point().components().count()).map(sysinfo::Disk::available_space)
}

fn disk(free: Option<u64>, download: Option<u64>, folder: &Path) -> Found {
    let Some(free) = free else { return (Level::Ok, "free space is not known".to_owned()) };
    let found = format!("{} free for {}", gigabytes(free), folder.display());
    match download {
        Some(download) if download > free => {
            let needed = gigabytes(download);
            (
                Level::Fail,
                format!("{found}, but the model has {needed}: free some, or use another folder with --cache-dir"),
            )
        }
        _ if free < LITTLE => (Level::Warn, format!("{found}: free some before you download a model")),
        _ => (Level::Ok, found),
    }
}

/// 0: the machine does not report its free memory.
fn memory(free: u64, needed: Option<u64>) -> Found {
    match (free, needed.map(|needed| (needed, gigabytes(needed)))) {
        (0, _) => (Level::Ok, "free memory is not known".to_owned()),
        (free, Some((needed, size))) if needed > free => (
            Level::Warn,
            format!(
                "{} free, but the model needs about {size}: it may be slow, or the system may end it. Close other \
                 programs, lower llama_cpp.kv_tokens, or use a smaller model",
                gigabytes(free)
            ),
        ),
        (free, Some((_, size))) => (Level::Ok, format!("{} free; the model needs about {size}", gigabytes(free))),
        (free, None) => (Level::Ok, format!("{} free", gigabytes(free))),
    }
}

/// `usable` is the number of cores that this process may use; of `cores` in all, or 0 if that is not known.
fn threads(set: usize, usable: usize, cores: usize) -> Found {
    let limit = match cores {
        cores if cores > usable => format!("this process may use {usable} of {cores} cores"),
        _ => format!("{usable} cores"),
    };
    match set {
        0 => (Level::Ok, format!("{usable} threads; {limit}")),
        set if set > usable => (
            Level::Warn,
            format!(
                "llama_cpp.threads is {set}, but this process may use {usable} cores: threads that wait for a core \
                 make every step slow; set it to {usable}, or to 0"
            ),
        ),
        set => (Level::Ok, format!("{set} threads; {limit}")),
    }
}

/// The number of processors in the text of /proc/cpuinfo.
fn processors(cpuinfo: &str) -> usize {
    cpuinfo.lines().filter(|line| line.split(':').next().is_some_and(|key| key.trim() == "processor")).count()
}

/// The instructions that llama.cpp's fast paths use, in the text of /proc/cpuinfo.
fn processor(cpuinfo: &str) -> Found {
    let line =
        |wanted: &str| cpuinfo.lines().find_map(|line| line.split_once(':').filter(|(key, _)| key.trim() == wanted));
    let (flags, used) = match (line("flags"), line("Features")) {
        (Some((_, flags)), _) => (flags, &["avx2", "fma", "f16c"][..]),
        (None, Some((_, flags))) => (flags, &["asimd", "asimddp"][..]),
        (None, None) => return (Level::Ok, "instructions are not known".to_owned()),
    };
    let missing: Vec<&str> =
        used.iter().copied().filter(|flag| !flags.split_whitespace().any(|f| f == *flag)).collect();
    match missing[..] {
        [] => (Level::Ok, used.join(", ")),
        _ => (Level::Warn, format!("no {}: models run several times slower here", missing.join(", "))),
    }
}

/// Whether a server answers. A proxy answers for one that it cannot reach, with a server error.
async fn reach(url: &str) -> Result<(), String> {
    let client = reqwest::Client::builder().timeout(PATIENCE).build().map_err(|error| error.to_string())?;
    match client.head(url).send().await {
        Ok(answer) if answer.status().is_server_error() => Err(format!("status {}", answer.status().as_u16())),
        Ok(_) => Ok(()),
        Err(error) if error.is_timeout() => Err("no answer within 2 s".to_owned()),
        // An address may hold a password.
        Err(error) => Err(error.without_url().to_string()),
    }
}

fn network(here: bool, offline: bool, sources: &[(&str, Result<(), String>)]) -> Found {
    if here {
        return (Level::Ok, "not needed, because the model is on disk".to_owned());
    }
    if offline {
        let what = "the model is not on disk, and `offline` forbids downloading it; run `gavel models pull` where \
                    there is a network";
        return (Level::Fail, what.to_owned());
    }
    let tell = |(name, reached): &(&str, Result<(), String>)| match reached {
        Ok(()) => format!("{name} answers"),
        Err(error) => format!("{name} does not answer ({error})"),
    };
    let told = sources.iter().map(tell).collect::<Vec<_>>().join("; ");
    match sources.iter().filter(|(_, reached)| reached.is_ok()).count() {
        0 => (Level::Fail, format!("{told}: the model cannot be downloaded; check the network, and HTTPS_PROXY")),
        reached if reached < sources.len() => (Level::Warn, told),
        _ => (Level::Ok, told),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(found: &Found, level: Level, expected: &str) {
        assert!(found.0 == level && found.1.contains(expected), "{found:?}, not {level:?} with {expected:?}");
    }

    #[test]
    fn space_is_held_against_the_download() {
        let at = Path::new("/cache");
        let gb = 1_000_000_000;
        check(&disk(Some(5 * gb), Some(gb), at), Level::Ok, "5.0 GB free for /cache");
        check(&disk(Some(gb), Some(2 * gb), at), Level::Fail, "but the model has 2.0 GB");
        check(&disk(Some(gb / 10), None, at), Level::Warn, "100 MB free");
        check(&disk(Some(gb / 10), Some(gb / 20), at), Level::Warn, "100 MB free");
        check(&disk(None, Some(gb), at), Level::Ok, "not known");
        check(&memory(3 * gb, Some(2 * gb)), Level::Ok, "needs about 2.0 GB");
        check(&memory(gb, Some(2 * gb)), Level::Warn, "llama_cpp.kv_tokens");
        check(&memory(gb, None), Level::Ok, "1.0 GB free");
        check(&memory(0, Some(gb)), Level::Ok, "not known");
    }

    #[test]
    fn more_threads_than_cores_are_told() {
        check(&threads(0, 2, 2), Level::Ok, "2 threads; 2 cores");
        check(&threads(0, 2, 8), Level::Ok, "2 of 8 cores");
        check(&threads(2, 2, 0), Level::Ok, "2 threads");
        check(&threads(8, 2, 8), Level::Warn, "set it to 2");
        check(&threads(4, 2, 2), Level::Warn, "llama_cpp.threads is 4");
    }

    #[test]
    fn instructions_are_read() {
        let x86 = "processor\t: 0\nflags\t\t: fpu avx2 fma f16c\n\nprocessor\t: 1\nflags\t\t: fpu avx2 fma f16c\n";
        assert_eq!([processors(x86), processors("")], [2, 0]);
        check(&processor(x86), Level::Ok, "avx2, fma, f16c");
        check(&processor("flags\t\t: fpu avx fma\n"), Level::Warn, "no avx2, f16c");
        check(&processor("Features\t: fp asimd asimddp\n"), Level::Ok, "asimd");
        check(&processor("Features\t: fp asimd\n"), Level::Warn, "no asimddp");
        check(&processor(""), Level::Ok, "not known");
    }

    #[test]
    fn sources_are_needed_only_for_a_download() {
        let (up, down) = (("the hub", Ok(())), ("the package index", Err("no answer within 2 s".to_owned())));
        check(&network(true, true, &[]), Level::Ok, "not needed");
        check(&network(false, true, &[]), Level::Fail, "gavel models pull");
        check(&network(false, false, std::slice::from_ref(&up)), Level::Ok, "the hub answers");
        check(&network(false, false, &[up, down.clone()]), Level::Warn, "no answer within 2 s");
        check(&network(false, false, &[down]), Level::Fail, "HTTPS_PROXY");
    }

    #[test]
    fn folders_and_ports_are_tried() {
        let temporary = tempfile::tempdir().unwrap();
        check(&folder(temporary.path(), ""), Level::Ok, "is writable");
        check(&folder(&temporary.path().join("not/yet"), ""), Level::Ok, "can be created");
        assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0, "nothing is left");
        check(&folder(Path::new("/proc/gavel"), "use another one"), Level::Warn, "use another one");
        check(&required((Level::Warn, String::new())), Level::Fail, "");
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        check(&port("127.0.0.1", taken.local_addr().unwrap().port()), Level::Warn, "is in use");
        check(&port("127.0.0.1", 0), Level::Ok, "is free");
        check(&valid(vec!["a.toml: no criterion"], 3, "rubrics"), Level::Fail, "a.toml");
        check(&valid(Vec::<String>::new(), 3, "rubrics"), Level::Ok, "3 rubrics");
    }
}
