//! Signals to `gavel serve`: what it still answers, and how it ends.

use std::path::Path;
use std::process::{Command, Stdio};

use reqwest::{Client, Response};
use serde_json::{Value, json};

use super::{Server, gavel};

fn serve(folder: &Path, settings: &[(&str, &str)], arguments: &[&str]) -> Server {
    let mut command = gavel(folder);
    command.envs(settings.iter().copied()).args(["serve", "--port", "0", "--engine", "scripted"]).args(arguments);
    Server::spawned(command.stderr(Stdio::piped()))
}

impl Server {
    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.process.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    async fn get(&self, path: &str) -> Response {
        client().get(format!("{}{path}", self.url)).send().await.unwrap()
    }

    async fn until_ready(&self, ready: bool) -> Response {
        loop {
            let answer = self.get("/readyz").await;
            if (answer.status() == 200) == ready {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn grade(&self) -> Response {
        let body = json!({"instruction": "Why?", "response": "So.", "rubric": "helpfulness"});
        client().post(format!("{}/v1/grade/absolute", self.url)).json(&body).send().await.unwrap()
    }

    /// Whether it ends with success, and what it says.
    fn ended(&mut self) -> (bool, String) {
        let ended = self.process.wait().unwrap().success();
        (ended, std::io::read_to_string(self.process.stderr.take().unwrap()).unwrap())
    }
}

fn client() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

#[tokio::test]
async fn a_hangup_reads_rubric_files_again_and_serves_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = serve(folder.path(), &[], &[]);
    server.until_ready(true).await;
    server.signal("-HUP");
    assert_eq!(server.grade().await.status(), 200);
    server.signal("-INT");
    let (success, log) = server.ended();
    assert!(success && log.contains("SIGHUP"), "{log}");
    assert!(log.contains("starting") && log.contains("data_dir") && log.trim_end().ends_with("stopped"), "{log}");
}

#[tokio::test]
async fn a_server_that_drains_is_not_ready_and_still_serves() {
    let folder = tempfile::tempdir().unwrap();
    let long = [("GAVEL_LIMITS__DRAIN_MS", "600000"), ("GAVEL_LIMITS__SHUTDOWN_MS", "600000")];
    let mut server = serve(folder.path(), &long, &[]);
    server.until_ready(true).await;
    server.signal("-TERM");
    let refused: Value = server.until_ready(false).await.json().await.unwrap();
    assert_eq!(refused["code"], "shutting_down");
    assert_eq!(server.get("/livez").await.status(), 200);
    let graded = server.grade().await;
    assert_eq!((graded.status().as_u16(), &graded.headers()["connection"]), (200, &"close".parse().unwrap()));
    // A second signal ends the drain.
    server.signal("-TERM");
    let (success, said) = server.ended();
    assert!(success, "{said}");
}

#[tokio::test]
async fn ctrl_c_does_not_drain() {
    let folder = tempfile::tempdir().unwrap();
    let long = [("GAVEL_LIMITS__DRAIN_MS", "600000"), ("GAVEL_LIMITS__SHUTDOWN_MS", "600000")];
    let mut server = serve(folder.path(), &long, &[]);
    server.until_ready(true).await;
    server.signal("-INT");
    let (success, said) = server.ended();
    assert!(success, "{said}");
}

#[tokio::test]
async fn what_is_cut_off_is_told_and_logged_and_shows_in_the_status() {
    let folder = tempfile::tempdir().unwrap();
    let short = [("GAVEL_LIMITS__DRAIN_MS", "0"), ("GAVEL_LIMITS__SHUTDOWN_MS", "1")];
    let mut server = serve(folder.path(), &short, &["--scripted-delay-ms", "600000"]);
    server.until_ready(true).await;
    let (cut, ()) = tokio::join!(server.grade(), async {
        while !server.get("/metrics").await.text().await.unwrap().contains("\ngavel_sequences_running 1") {
            tokio::task::yield_now().await;
        }
        server.signal("-TERM");
    });
    assert_eq!(cut.status(), 503);
    assert_eq!(cut.json::<Value>().await.unwrap()["code"], "shutting_down");
    let (success, said) = server.ended();
    assert!(!success && said.contains("cut off") && !said.contains("status=499"), "{said}");
    assert!(said.contains("status=503"), "{said}");
}

#[tokio::test]
async fn numbers_are_numbers_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [("GAVEL_LOG__FORMAT", "json"), ("GAVEL_LIMITS__DRAIN_MS", "7")];
    let mut server = serve(folder.path(), &settings, &[]);
    server.until_ready(true).await;
    server.signal("-TERM");
    let (success, log) = server.ended();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let drain = lines.iter().find(|line| line["drain_ms"] != Value::Null).unwrap_or_else(|| panic!("{log}"));
    assert_eq!((success, &drain["drain_ms"]), (true, &json!(7)), "{log}");
}

#[tokio::test]
async fn an_invalid_rubric_file_is_told_with_what_is_used_instead() {
    let folder = tempfile::tempdir().unwrap();
    let rubrics = folder.path().join("data/rubrics");
    std::fs::create_dir_all(&rubrics).unwrap();
    for name in ["new.toml", "honesty.toml"] {
        std::fs::write(rubrics.join(name), "criterion = 3").unwrap();
    }
    let mut server = serve(folder.path(), &[("GAVEL_LOG__FORMAT", "json")], &[]);
    server.until_ready(true).await;
    server.signal("-INT");
    let (_, log) = server.ended();
    let said = |name: &str| {
        let line = log.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{log}"));
        serde_json::from_str::<Value>(line).unwrap()["message"].as_str().unwrap().to_owned()
    };
    assert!(said("new.toml").ends_with("there is no rubric of its name until it is valid"), "{log}");
    assert!(said("honesty.toml").ends_with("the built-in rubric of its name stays in use"), "{log}");
}
