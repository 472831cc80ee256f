//! `gavel keys`, and the commands that use one.

use std::process::Stdio;

use serde_json::Value;

use super::{Server, gavel, run};

#[test]
fn keys_are_created_listed_used_and_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let keys = |arguments: &[&str]| run(gavel(folder.path()).arg("keys").args(arguments));
    let log = folder.path().join("log");
    let mut serve = gavel(folder.path());
    serve.env("GAVEL_LOG__LEVEL", "debug").stderr(std::fs::File::create(&log).unwrap());
    let server = Server::spawned(serve.args(["serve", "--port", "0", "--engine", "scripted"]));
    let grade = |key: Option<&str>| {
        let mut command = gavel(folder.path());
        command.env_remove("GAVEL_DATA_DIR").env_remove("GAVEL_CACHE_DIR").envs(key.map(|key| ("GAVEL_API_KEY", key)));
        let item = ["--instruction", "Why?", "--response", "So.", "--rubric", "helpfulness"];
        run(command.args(["grade", "--server", &server.url]).args(item))
    };
    assert!(grade(None).0, "keys are off");

    let (done, listed, note) = keys(&["list"]);
    assert!(done && listed.is_empty() && note.contains("Keys are off"), "{listed}{note}");
    let (done, key, note) = keys(&["create", "--name", "trainer", "--scope", "grade", "--expires", "30d"]);
    let key = key.trim();
    assert!(done && key.starts_with("gvl_") && key.len() == 68 && !key.contains(' '), "{key}");
    assert!(note.contains("Authorization: Bearer") && note.contains("Keys are on"), "{note}");
    let (done, created, note) = keys(&[
        "create",
        "--name",
        "admin",
        "--scope",
        "admin,grade",
        "--requests-per-minute",
        "60",
        "--tokens-per-minute",
        "90000",
        "--json",
    ]);
    let created: Value = serde_json::from_str(&created).unwrap();
    assert!(done && note.is_empty(), "{note}");
    assert_eq!((&created["scopes"], &created["expires"]), (&serde_json::json!(["admin", "grade"]), &Value::Null));
    let admin = created["key"].as_str().unwrap();

    let (done, _, error) = grade(None);
    assert!(!done && error.contains("needs an API key; set GAVEL_API_KEY"), "{error}");
    let (done, _, error) = grade(Some("gvl_wrong"));
    assert!(!done && error.contains("refuses the API key in GAVEL_API_KEY"), "{error}");
    let (done, verdict, error) = grade(Some(key));
    assert!(done && verdict.contains("score"), "{verdict}{error}");

    let (_, table, _) = keys(&["list"]);
    let (_, json, _) = keys(&["list", "--json"]);
    let rows: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&rows[0]["name"], &rows[1]["requests_per_minute"]), (&"trainer".into(), &60.into()), "{json}");
    assert_eq!(
        (&rows[0]["tokens_per_minute"], &rows[1]["tokens_per_minute"]),
        (&Value::Null, &90_000.into()),
        "{json}"
    );
    assert_eq!(rows[0]["digest"].as_str().unwrap().len(), 4);
    assert!(table.contains("trainer") && table.contains("never") && table.contains("admin,grade"), "{table}");
    let file = std::fs::read_to_string(folder.path().join("data/keys.toml")).unwrap();

    let (done, told, _) = keys(&["revoke", "trainer"]);
    assert!(done && told.contains("trainer is revoked"), "{told}");
    assert!(!grade(Some(key)).0 && grade(Some(admin)).0);
    let (done, _, error) = keys(&["revoke", "trainer"]);
    assert!(!done && error.contains("there is no key named `trainer`"), "{error}");
    let (done, told, note) = keys(&["revoke", "admin", "--json"]);
    assert!(done && told.contains("\"keys_left\": 0") && note.is_empty(), "{told}{note}");
    drop(server);

    // Nothing secret is anywhere but where it was printed.
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(log.contains("unauthenticated") && log.contains("trainer"), "{log}");
    for text in [&log, &table, &json, &file] {
        for secret in [key, admin, "gvl_wrong"] {
            assert!(!text.contains(&secret[4..]), "{text}");
        }
    }
}

#[test]
fn a_key_is_not_an_unknown_setting() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut serve = gavel(folder.path());
    serve.env("GAVEL_API_KEY", "gvl_x").stderr(std::fs::File::create(&log).unwrap());
    drop(Server::spawned(serve.args(["serve", "--port", "0", "--engine", "scripted"])));
    assert!(!std::fs::read_to_string(&log).unwrap().contains("GAVEL_API_KEY"));
}

#[test]
fn mistakes_are_told() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, expected) in [
        (&["create", "--name", "a b", "--scope", "grade"][..], "not a valid name"),
        (&["create", "--name", "a"], "--scope"),
        (&["create", "--name", "a", "--scope", "all"], "possible values: grade, batch, review, admin"),
        (&["create", "--name", "a", "--scope", "grade", "--expires", "soon"], "such as 12h, 30d or 52w"),
        (&["revoke", "a"], "there is no key named `a`"),
    ] {
        let (done, told, error) = run(gavel(folder.path()).arg("keys").args(arguments));
        assert!(!done && told.is_empty() && error.contains(expected), "{arguments:?}: {told}{error}");
    }
}

#[test]
fn an_open_server_must_be_meant() {
    let folder = tempfile::tempdir().unwrap();
    let serve = |more: &[&str]| {
        let mut command = gavel(folder.path());
        command.args(["serve", "--host", "0.0.0.0", "--port", "0", "--engine", "scripted"]).args(more);
        command
    };
    let refused = serve(&[]).output().unwrap();
    let error = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(78), "{error}");
    assert!(error.contains("gavel keys create") && error.contains("--insecure"), "{error}");
    drop(Server::spawned(serve(&["--insecure"]).stderr(Stdio::null())));
    let (done, _, error) = run(gavel(folder.path()).args(["keys", "create", "--name", "me", "--scope", "grade"]));
    assert!(done, "{error}");
    drop(Server::spawned(serve(&[]).stderr(Stdio::null())));
    std::fs::write(folder.path().join("data/keys.toml"), "[[keys]]").unwrap();
    let broken = serve(&["--insecure"]).output().unwrap();
    assert_eq!(broken.status.code(), Some(78));
    assert!(String::from_utf8(broken.stderr).unwrap().contains("keys.toml:"));
}
