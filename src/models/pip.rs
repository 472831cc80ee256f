//! pip's configuration, so that a mirror that works for pip works here.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// pip's default index.
const DEFAULT_INDEX: &str = "https://pypi.org/simple";
/// Timeout of pip, which usually takes about a second.
const PATIENCE: Duration = Duration::from_secs(30);
/// The sections that `pip install` reads, in order of increasing precedence. pip has already merged the global, the
/// user's and the environment's files within each section.
const SECTIONS: [&str; 3] = ["global", "install", ":env:"];

/// The package sources of pip. It has no `Debug`, because URLs may contain passwords.
#[derive(Clone)]
pub(super) struct PipSettings {
    pub(super) index_url: String,
    pub(super) extra_index_urls: Vec<String>,
    pub(super) no_index: bool,
    /// Folders, and URLs of pages with links.
    pub(super) find_links: Vec<String>,
    /// A PEM file with additional root certificates.
    pub(super) cert: Option<PathBuf>,
    pub(super) proxy: Option<String>,
    /// `host` or `host:port`, whose certificates are not checked.
    pub(super) trusted_hosts: Vec<String>,
}

/// The address of the index that pip is set up with, unless it may not use one.
pub(crate) async fn package_index() -> Option<String> {
    let settings = PipSettings::ask().await;
    (!settings.no_index).then_some(settings.index_url)
}

impl Default for PipSettings {
    fn default() -> Self {
        Self {
            index_url: DEFAULT_INDEX.to_owned(),
            extra_index_urls: Vec::new(),
            no_index: false,
            find_links: Vec::new(),
            cert: None,
            proxy: None,
            trusted_hosts: Vec::new(),
        }
    }
}

impl PipSettings {
    /// Reads the settings of the installed pip; without pip, its defaults.
    pub(super) async fn ask() -> Self {
        for command in [&["python3", "-m", "pip"][..], &["pip"]] {
            if let Some(listing) = config_list(command).await {
                return Self::parse(&listing);
            }
        }
        tracing::debug!("no pip answered; using its default index");
        Self::default()
    }

    /// Parses the output of `pip config list`: `section.key='value'`, with a Python string literal.
    fn parse(listing: &str) -> Self {
        let mut settings = Self::default();
        for wanted in SECTIONS {
            for line in listing.lines() {
                if let Some((section_key, value)) = line.split_once('=')
                    && let Some((section, key)) = section_key.trim().split_once('.')
                    && section == wanted
                {
                    settings.set(key, &unquote(value.trim()));
                }
            }
        }
        settings
    }

    fn set(&mut self, key: &str, value: &str) {
        let words = || value.split_whitespace().map(str::to_owned).collect();
        match (key, value) {
            // pip ignores empty values too.
            (_, "") => {}
            ("index-url", _) => self.index_url = value.to_owned(),
            ("extra-index-url", _) => self.extra_index_urls = words(),
            ("no-index", _) => {
                let value = value.to_ascii_lowercase();
                self.no_index = matches!(&*value, "1" | "y" | "yes" | "t" | "true" | "on");
            }
            ("find-links", _) => self.find_links = words(),
            ("cert", _) => self.cert = Some(PathBuf::from(value)),
            ("proxy", _) => self.proxy = Some(value.to_owned()),
            ("trusted-host", _) => self.trusted_hosts = words(),
            _ => {}
        }
    }
}

/// The output of `<command> config list`, if it runs.
async fn config_list(command: &[&str]) -> Option<String> {
    let (program, arguments) = command.split_first()?;
    let output =
        Command::new(program).args(arguments).args(["config", "list"]).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE, output).await.ok()?.ok()?;
    let listing = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(listing)
}

/// Parses Python's `repr` of a string, as far as settings need it.
fn unquote(repr: &str) -> String {
    let inner = match repr.chars().next() {
        Some(quote @ ('\'' | '"')) => repr[1..].strip_suffix(quote),
        _ => None,
    };
    let Some(inner) = inner else {
        return repr.to_owned();
    };
    let mut out = String::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some('r') => out.push('\r'),
                Some('t') => out.push('\t'),
                Some(other) => out.push(other),
                None => {}
            },
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_stronger_section_wins_whatever_the_order() {
        let settings = PipSettings::parse(
            ":env:.index-url='https://u:p%40@mirror.test/simple?a=b'\n\
             global.cert='/etc/roots.pem'\n\
             global.index-url='https://weak.test/simple'\n\
             install.trusted-host='one.test\\ntwo.test:8443'\n\
             global.trusted-host='weak.test'\n\
             download.proxy='http://not.for.us:1'\n\
             global.extra-index-url='\\nhttps://a.test/simple\\nhttps://b.test/simple'\n\
             :env:.no-index='0'\n\
             global.no-index='true'\n\
             global.proxy=''\n",
        );
        assert_eq!(settings.index_url, "https://u:p%40@mirror.test/simple?a=b");
        assert_eq!(settings.cert.unwrap(), PathBuf::from("/etc/roots.pem"));
        assert_eq!(settings.trusted_hosts, ["one.test", "two.test:8443"]);
        assert_eq!(settings.proxy, None);
        assert_eq!(settings.extra_index_urls, ["https://a.test/simple", "https://b.test/simple"]);
        assert!(!settings.no_index);
    }

    #[test]
    fn nothing_said_is_the_default_index() {
        let settings = PipSettings::parse("WARNING: something else\n");
        assert_eq!(settings.index_url, DEFAULT_INDEX);
        assert!(settings.find_links.is_empty());
    }

    #[test]
    fn values_are_unquoted_as_python_quotes() {
        assert_eq!(unquote(r"'C:\\wheels'"), r"C:\wheels");
        assert_eq!(unquote(r#""it's""#), "it's");
        assert_eq!(unquote("bare"), "bare");
        assert_eq!(unquote("'"), "'");
    }
}
