//! The real Prometheus, as Debian packages it.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::server::PATIENCE;

pub(crate) const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/prometheus");

/// Whether Prometheus is installed. In CI it has to be; elsewhere the test is skipped.
pub(crate) fn installed() -> bool {
    let there = |program: &str| Command::new(program).arg("--version").output().is_ok_and(|o| o.status.success());
    if there("prometheus") && there("promtool") {
        return true;
    }
    let what = "Prometheus is not installed: apt-get install --no-install-recommends prometheus";
    assert!(std::env::var_os("CI").is_none(), "{what}");
    eprintln!("skipped: {what}");
    false
}

/// Runs promtool, which must be content.
pub(crate) fn promtool(arguments: &[&str], input: &str) -> String {
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(FOLDER);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
    assert!(status.success(), "promtool {arguments:?}:\n{said}");
    said
}

/// A Prometheus on a free port; it is stopped when it is dropped.
pub(crate) struct Prometheus {
    process: Child,
    url: String,
    client: reqwest::Client,
}

impl Prometheus {
    /// Starts it in `folder` with the configuration that is shipped, but for the target and the intervals.
    pub(crate) fn start(folder: &Path, target: &str) -> Self {
        let shipped = std::fs::read_to_string(format!("{FOLDER}/prometheus.yml")).unwrap();
        let (at, interval) = ("localhost:8080", "interval: 15s");
        assert!(shipped.contains(at) && shipped.matches(interval).count() == 2);
        let config = shipped.replace(at, target).replace(interval, "interval: 200ms");
        std::fs::write(folder.join("prometheus.yml"), config).unwrap();
        std::fs::copy(format!("{FOLDER}/alerts.yml"), folder.join("alerts.yml")).unwrap();
        let mut command = Command::new("prometheus");
        command.arg("--config.file=prometheus.yml").arg("--storage.tsdb.path=data").current_dir(folder);
        command.arg("--web.listen-address=127.0.0.1:0").stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
        let mut said = Vec::new();
        let address = lines.find_map(|line| {
            let address = line.split_once("msg=\"Listening on\" address=").map(|(_, rest)| rest.to_owned());
            said.push(line);
            Some(address?.split_whitespace().next()?.to_owned())
        });
        let address = address.unwrap_or_else(|| panic!("it does not listen:\n{}", said.join("\n")));
        // A pipe that nobody reads would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { process, url: format!("http://{address}"), client }
    }

    /// The `data` of a route of its API.
    pub(crate) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, String> {
        let mut url = reqwest::Url::parse(&format!("{}{path}", self.url)).unwrap();
        url.query_pairs_mut().extend_pairs(query);
        let sent = self.client.get(url).send().await.map_err(|error| error.to_string())?;
        let mut body: Value = sent.json().await.map_err(|error| error.to_string())?;
        if body["status"] == "success" { Ok(body["data"].take()) } else { Err(body.to_string()) }
    }

    /// The numbers that a query gives now.
    pub(crate) async fn values(&self, query: &str) -> Result<Vec<f64>, String> {
        let data = self.get("/api/v1/query", &[("query", query)]).await?;
        let samples = data["result"].as_array().cloned().unwrap_or_default();
        Ok(samples.iter().filter_map(|sample| sample["value"][1].as_str()?.parse().ok()).collect())
    }

    /// Asks until what comes is what is waited for.
    pub(crate) async fn until(&self, query: &str, holds: impl Fn(&[f64]) -> bool) {
        let mut last = None;
        let poll = async {
            loop {
                last = Some(self.values(query).await);
                if last.as_ref().is_some_and(|found| found.as_ref().is_ok_and(|values| holds(values))) {
                    break;
                }
                tokio::task::yield_now().await;
            }
        };
        let came = tokio::time::timeout(PATIENCE * 4, poll).await;
        assert!(came.is_ok(), "{query} never came to it: {last:?}");
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}
