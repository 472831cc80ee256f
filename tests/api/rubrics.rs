//! `/v1/rubrics`: list, read, write, remove; and files, which stay the source of truth.

use serde_json::{Value, json};

use crate::engines::example;
use crate::server::{PATIENCE, Server, is_digest, ok, problem, rubric, sent};

const GOOD: &str = "criterion = \"Is it good?\"\n[descriptions]\n1 = \"no\"\n2 = \"yes\"\n";

impl Server {
    async fn put_rubric(&self, name: &str, body: &Value) -> reqwest::Response {
        sent(self.client.put(format!("{}/v1/rubrics/{name}", self.url)).json(body)).await
    }

    async fn delete_rubric(&self, name: &str) -> reqwest::Response {
        sent(self.client.delete(format!("{}/v1/rubrics/{name}", self.url))).await
    }
}

#[tokio::test]
async fn the_built_in_ones_are_listed_and_read() {
    let server = Server::configured(&[], None);
    let list = server.get_json("/v1/rubrics").await;
    assert_eq!(list["object"], "list");
    let names: Vec<&str> = list["data"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
    assert!(names.len() >= 12 && names.contains(&"helpfulness") && names.is_sorted(), "{names:?}");
    for entry in list["data"].as_array().unwrap() {
        let name = entry["name"].as_str().unwrap();
        assert_eq!(server.get_json(&format!("/v1/rubrics/{name}")).await, *entry);
        assert_eq!((&entry["built_in"], &entry["object"]), (&json!(true), &json!("rubric")));
        assert!(is_digest(entry["digest"].as_str().unwrap()));
        assert!((2..=11).contains(&entry["descriptions"].as_object().unwrap().len()));
    }
    problem(&server, server.get("/v1/rubrics/nothing").await, 404, "unknown_rubric").await;
}

#[tokio::test]
async fn one_is_added_replaced_and_removed() {
    let server = Server::with(example());
    let added = server.put_rubric("mine", &rubric(1, 5)).await;
    assert_eq!(added.status(), 201);
    let added: Value = added.json().await.unwrap();
    assert_eq!((&added["name"], &added["built_in"]), (&json!("mine"), &json!(false)));
    assert_eq!(added["descriptions"], rubric(1, 5)["descriptions"]);
    assert_eq!(server.get_json("/v1/rubrics/mine").await, added);
    assert!(server.data_dir().join("rubrics/mine.toml").exists());
    let verdict = server.absolute(json!({"rubric": "mine"})).await;
    assert_eq!(verdict["rubric"], json!({"name": "mine", "digest": added["digest"]}));

    let replaced = ok(server.put_rubric("mine", &rubric(1, 3)).await).await;
    assert_ne!(replaced["digest"], added["digest"]);
    assert_eq!(server.absolute(json!({"rubric": "mine"})).await["distribution"].as_object().unwrap().len(), 3);

    let gone = server.delete_rubric("mine").await;
    assert_eq!((gone.status().as_u16(), gone.bytes().await.unwrap().len()), (204, 0));
    assert!(!server.data_dir().join("rubrics/mine.toml").exists());
    problem(&server, server.get("/v1/rubrics/mine").await, 404, "unknown_rubric").await;
    problem(&server, server.delete_rubric("mine").await, 404, "unknown_rubric").await;
}

#[tokio::test]
async fn a_built_in_one_is_hidden_but_never_removed() {
    let server = Server::configured(&[], None);
    let built_in = server.get_json("/v1/rubrics/honesty").await;
    problem(&server, server.delete_rubric("honesty").await, 409, "conflict").await;
    let own = ok(server.put_rubric("honesty", &rubric(0, 1)).await).await;
    assert_eq!((&own["built_in"], own["digest"] == built_in["digest"]), (&json!(false), false));
    assert_eq!(server.delete_rubric("honesty").await.status(), 204);
    assert_eq!(server.get_json("/v1/rubrics/honesty").await, built_in, "it is back");
}

#[tokio::test]
async fn what_cannot_be_written_is_refused() {
    async fn check(name: &str, body: Value, status: u16, code: &str) -> Value {
        let server = Server::configured(&[], None);
        let before = server.get_json("/v1/rubrics").await;
        let refused = problem(&server, server.put_rubric(name, &body).await, status, code).await;
        assert_eq!(server.get_json("/v1/rubrics").await, before);
        refused
    }
    let good = rubric(1, 2);
    for name in ["inline", "a.b", "a%20b", "%2e%2e%2fx", "gr%C3%BC%C3%9Fe", &"x".repeat(65)] {
        check(name, good.clone(), 422, "invalid_request").await;
    }
    check("mine", rubric(1, 12), 422, "invalid_rubric").await;
    check("mine", rubric(1, 1), 422, "invalid_rubric").await;
    check("mine", json!({"criterion": "x", "descriptions": {"1": "a", "3": "b"}}), 422, "invalid_rubric").await;
    check("mine", json!({"criterion": "x", "descriptions": {"1": "a", "2": " "}}), 422, "invalid_rubric").await;
    check("mine", json!({"criterion": "x", "descriptions": {"1": "a", "two": "b"}}), 422, "invalid_rubric").await;
    check("mine", json!({"criterion": "x", "descriptions": {"1": "a", "01": "b", "2": "c"}}), 422, "invalid_rubric")
        .await;
    check("mine", json!({"criterion": " ", "descriptions": {"1": "a", "2": "b"}}), 422, "invalid_rubric").await;
    check("mine", json!([1]), 422, "invalid_request").await;
    let missing = check("mine", json!({"criterion": "x"}), 422, "invalid_request").await;
    assert_eq!(missing["pointer"], "/descriptions");
    let mut extra = good;
    extra["weight"] = json!(1);
    assert_eq!(check("mine", extra, 422, "unknown_field").await["pointer"], "/weight");
}

#[tokio::test]
async fn only_the_servers_own_machine_writes() {
    let server = Server::configured(&[], None);
    let put = |headers: &[(&str, &str)]| {
        let request = server.client.put(format!("{}/v1/rubrics/mine", server.url)).json(&rubric(1, 2));
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))
    };
    for host in ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:8080"] {
        let answer = sent(put(&[("Host", host)])).await;
        assert!(answer.status().is_success(), "{host}: {}", answer.text().await.unwrap());
    }
    let refused = async |headers: &[(&str, &str)]| {
        // Nothing is read of the body, so that the path alone is what is looked at.
        let answer = sent(put(headers)).await;
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        assert!(status == 403 && text.contains("\"forbidden\""), "{headers:?}: {status} {text}");
    };
    for host in ["judge.example.com", "attacker.example:8080", "localhost.attacker.example", "10.0.0.1", "0.0.0.0"] {
        refused(&[("Host", host)]).await;
        let request = server.client.delete(format!("{}/v1/rubrics/mine", server.url)).header("Host", host);
        assert_eq!(sent(request).await.status(), 403, "{host}");
    }
    for (name, value) in [
        ("Forwarded", "for=203.0.113.9"),
        ("X-Forwarded-For", "203.0.113.9"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "localhost"),
        ("X-Forwarded", "for=203.0.113.9"),
        ("X-Real-IP", "127.0.0.1"),
        ("Via", "1.1 x"),
        ("CF-Connecting-IP", "203.0.113.9"),
        ("True-Client-IP", "203.0.113.9"),
        ("CDN-Loop", "cloudflare"),
    ] {
        refused(&[(name, value)]).await;
    }
    // As proxies speak unless they are told otherwise.
    let old = server.client.delete(format!("{}/v1/rubrics/mine", server.url)).version(reqwest::Version::HTTP_10);
    assert_eq!(sent(old).await.status(), 403);
    assert_eq!(server.get_json("/v1/rubrics/mine").await["built_in"], false, "it is still there");

    let off = Server::configured(&[("rubrics.allow_writes", "false")], None);
    let answer = problem(&off, off.put_rubric("mine", &rubric(1, 2)).await, 403, "forbidden").await;
    assert!(answer["detail"].as_str().unwrap().contains("rubrics.allow_writes"), "{answer}");
}

#[tokio::test]
async fn a_file_that_changes_is_served_at_once() {
    let server = Server::with(example());
    server.app.rubrics.watch().unwrap();
    let folder = server.data_dir().join("rubrics");
    let write = |text: &str| {
        // As editors do: beside, then renamed.
        std::fs::write(folder.join("mine.new"), text).unwrap();
        std::fs::rename(folder.join("mine.new"), folder.join("mine.toml")).unwrap();
    };
    let library = &server.app.rubrics;
    let mut changes = library.changes();
    let mut wait = async |holds: &(dyn Fn() -> bool + Sync)| {
        tokio::time::timeout(PATIENCE, changes.wait_for(|_| holds())).await.expect("a reload").unwrap();
    };

    write(GOOD);
    wait(&|| library.get("mine").is_ok()).await;
    let first = server.get_json("/v1/rubrics/mine").await;
    assert_eq!((&first["criterion"], &first["built_in"]), (&json!("Is it good?"), &json!(false)));

    write(&GOOD.replace("good", "right"));
    wait(&|| library.get("mine").is_ok_and(|entry| entry.rubric.criterion() == "Is it right?")).await;
    let second = server.get_json("/v1/rubrics/mine").await;
    assert_ne!(second["digest"], first["digest"]);

    write("criterion = \"x\"\n[descriptions]\n1 = \"a\"\n3 = \"b\"\n");
    wait(&|| !library.refused().is_empty()).await;
    assert_eq!(library.refused()[0].line, Some(2));
    assert_eq!(server.get_json("/v1/rubrics/mine").await, second, "the last good one stays");
    assert_eq!(server.absolute(json!({"rubric": "mine"})).await["rubric"]["digest"], second["digest"]);

    std::fs::remove_file(folder.join("mine.toml")).unwrap();
    wait(&|| library.get("mine").is_err()).await;
    problem(&server, server.get("/v1/rubrics/mine").await, 404, "unknown_rubric").await;
}
