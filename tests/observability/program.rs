//! The program itself, since a process has one place for its logs.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use reqwest::header::ACCEPT;
use serde_json::{Value, json};

use crate::server::{absolute, sent};

/// A running `gavel serve` on the scripted engine.
pub(crate) struct Program {
    process: Child,
    lines: Option<JoinHandle<String>>,
    pub(crate) url: String,
    pub(crate) client: reqwest::Client,
}

impl Program {
    pub(crate) fn start(folder: &Path, settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gavel"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("GAVEL_") || name.starts_with("OTEL_")) {
            command.env_remove(name);
        }
        command.env("GAVEL_DATA_DIR", folder.join("data")).env("GAVEL_CACHE_DIR", folder.join("cache"));
        command.env("GAVEL_LIMITS__DRAIN_MS", "0");
        command.envs(settings.iter().copied()).args(["serve", "--port", "0", "--engine", "scripted"]);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let mut errors = process.stderr.take().unwrap();
        let lines = Some(std::thread::spawn(move || {
            let mut text = String::new();
            errors.read_to_string(&mut text).unwrap();
            text
        }));
        let url = line.trim().strip_prefix("gavel is listening on ").unwrap_or_else(|| panic!("{line}")).to_owned();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { process, lines, url, client }
    }

    /// Grades with these headers; gives the status.
    pub(crate) async fn grade(&self, change: Value, headers: &[(&str, &str)]) -> u16 {
        while sent(self.client.get(format!("{}/readyz", self.url))).await.status() != 200 {
            tokio::task::yield_now().await;
        }
        let mut request = self.client.post(format!("{}/v1/grade/absolute", self.url)).json(&absolute(change));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = sent(request).await;
        let status = response.status().as_u16();
        response.text().await.unwrap();
        status
    }

    /// One request of each kind, each with an id that says which.
    pub(crate) async fn grade_all(&self) {
        assert_eq!(self.grade(json!({}), &[("x-request-id", "req-good")]).await, 200);
        assert_eq!(self.grade(json!({"rubric": "nothing"}), &[("x-request-id", "req-unknown")]).await, 404);
        let stream = [("x-request-id", "req-stream"), (ACCEPT.as_str(), "text/event-stream")];
        assert_eq!(self.grade(json!({"response": "Streamed."}), &stream).await, 200);
    }

    /// Stops it as a supervisor does, and gives what it has logged.
    pub(crate) fn stop(mut self) -> String {
        let asked = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status().unwrap();
        assert!(asked.success());
        assert!(self.process.wait().unwrap().success());
        self.lines.take().unwrap().join().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.lines.is_some() {
            self.process.kill().unwrap();
            self.process.wait().unwrap();
        }
    }
}
