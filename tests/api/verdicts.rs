//! The log of verdicts.

use serde_json::json;

use crate::engines::example;
use crate::server::{PATIENCE, Server, absolute, ok, problem, sent};

const ON: (&str, &str) = ("verdict_log.enabled", "true");

impl Server {
    /// The logged verdict, once it is written.
    async fn logged(&self, id: &str) -> serde_json::Value {
        let poll = async {
            loop {
                let answer = self.get(&format!("/v1/verdicts/{id}")).await;
                if answer.status() == 200 {
                    return answer.json().await.unwrap();
                }
            }
        };
        tokio::time::timeout(PATIENCE, poll).await.expect("it is in the log")
    }
}

#[tokio::test]
async fn verdicts_are_kept_with_their_requests() {
    let server = Server::configured(&[ON], Some(example()));
    let asked = absolute(json!({"response": "Of \u{0} NUL.", "mode": "score"}));
    let verdict = ok(server.post_json("/v1/grade/absolute", &asked).await).await;
    let logged = server.logged(verdict["id"].as_str().unwrap()).await;
    assert_eq!((&logged["verdict"], &logged["request"]), (&verdict, &asked));
    assert_eq!((&logged["route"], &logged["object"]), (&json!("/v1/grade/absolute"), &json!("verdict.logged")));
    let second = server.relative(json!({})).await;
    server.logged(second["id"].as_str().unwrap()).await;
    // The last event of a stream is one, too.
    let stream = server.post("/v1/grade/absolute").json(&absolute(json!({}))).header("accept", "text/event-stream");
    let text = sent(stream).await.text().await.unwrap();
    let streamed = crate::server::events(&text).pop().unwrap().1;
    assert_eq!(server.logged(streamed["id"].as_str().unwrap()).await["verdict"], streamed);

    let list = async |query: &str| {
        let listed = server.get_json(&format!("/v1/verdicts{query}")).await;
        let ids = listed["data"].as_array().unwrap().iter().map(|row| row["id"].clone()).collect::<Vec<_>>();
        (ids, listed["has_more"].clone())
    };
    let all = [&streamed["id"], &second["id"], &verdict["id"]].map(Clone::clone);
    assert_eq!(list("").await, (all.to_vec(), json!(false)));
    assert_eq!(list("?limit=2").await, (all[..2].to_vec(), json!(true)));
    let after = format!("?limit=2&after={}", all[1].as_str().unwrap());
    assert_eq!(list(&after).await, (all[2..].to_vec(), json!(false)));
    assert_eq!(list("?order=asc&limit=1").await, (all[2..].to_vec(), json!(true)));
    assert_eq!(list("?rubric=helpfulness").await.0.len(), 3);
    assert_eq!(list("?rubric=other").await.0.len(), 0);
    assert_eq!(list("?model=other").await.0.len(), 0);
    assert_eq!(list("?from=2001-01-01T00:00:00Z&to=4102444800").await.0.len(), 3);
    assert_eq!(list("?to=1000000000").await.0.len(), 0);
    let wrong = problem(&server, server.get("/v1/verdicts?from=yesterday").await, 422, "invalid_request").await;
    assert_eq!(wrong["pointer"], "/from");
    problem(&server, server.get("/v1/verdicts/vrd_x").await, 404, "unknown_verdict").await;
}

#[tokio::test]
async fn nothing_is_kept_unless_the_settings_say_so() {
    let server = Server::with(example());
    server.absolute(json!({})).await;
    let off = problem(&server, server.get("/v1/verdicts").await, 409, "conflict").await;
    assert!(off["detail"].as_str().unwrap().contains("verdict_log.enabled"));
    assert!(!server.data_dir().join("gavel.db").exists());
}

#[tokio::test]
async fn what_is_too_old_or_too_much_is_deleted() {
    use gavel::store::{Location, Store, VerdictFilter, VerdictRow};
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&Location::of(folder.path(), "")).await.unwrap();
    let row = |id: &str, created_at: i64| VerdictRow {
        id: id.into(),
        owner: String::new(),
        route: "/v1/grade/absolute".into(),
        rubric: String::new(),
        model: String::new(),
        request: "{}".into(),
        verdict: "x".repeat(98),
        created_at,
    };
    let soon = i64::MAX / 2;
    store.put_verdicts(&[row("old", 1), row("a", soon), row("b", soon + 1), row("c", soon + 2)]).await.unwrap();
    assert_eq!(store.purge_verdicts(1000, 250).await.unwrap(), 2);
    let page = gavel::store::Page { after: None, limit: 10, newest_first: false };
    let filter = VerdictFilter { to: i64::MAX, ..VerdictFilter::default() };
    let left = store.verdicts("", filter, page).await.unwrap();
    assert_eq!(left.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["b", "c"]);
}
