//! Stored reports: what the operator puts into a folder is listed and given out, and nothing beside it.

use std::time::SystemTime;

use gavel::keys::{self, Key, Scope};
use serde_json::{Value, json};

use crate::engines::example;
use crate::server::{Server, ok, problem, sent};

const AGREEMENT: &str = include_str!("../agreement/report.json");

impl Server {
    fn store_report(&self, name: &str, text: &str) {
        let folder = self.data_dir().join("reports");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), text).unwrap();
    }
}

#[tokio::test]
async fn reports_are_those_of_the_folder_now() {
    let server = Server::with(example());
    assert_eq!(server.get_json("/v1/reports").await, json!({"object": "list", "data": [], "left_out": 0}));
    server.store_report("my judge.json", AGREEMENT);
    server.store_report("broken.json", &AGREEMENT[..500]);
    server.store_report("notes.txt", "Ask Ada.");
    let listed = server.get_json("/v1/reports").await;
    let [broken, report] = &listed["data"].as_array().unwrap()[..] else { panic!("{listed}") };
    assert_eq!((&report["name"], &report["report"]), (&json!("my judge"), &json!("agreement")));
    assert_eq!((&report["bytes"], &report["error"]), (&json!(AGREEMENT.len()), &Value::Null));
    assert!(report["modified_at"].as_u64().unwrap() > 1_700_000_000, "{report}");
    let judge = &report["judges"][0];
    assert_eq!((&judge["name"], &judge["model"]["engine"]), (&json!("qwen2.5-coder-1.5b"), &json!("llama-cpp")));
    assert_eq!((&broken["name"], &broken["report"]), (&json!("broken"), &Value::Null));
    assert!(broken["error"].as_str().unwrap().contains("EOF"), "{broken}");

    let whole = server.get("/v1/reports/my%20judge").await;
    assert_eq!(whole.headers()["content-type"], "application/json");
    assert_eq!(whole.text().await.unwrap(), AGREEMENT);
    let unusable = problem(&server, server.get("/v1/reports/broken").await, 404, "unknown_report").await;
    let detail = unusable["detail"].as_str().unwrap();
    assert!(detail.contains("`broken` cannot be used: ") && detail.contains("EOF"), "{unusable}");
    for name in ["notes", "my judge.json", "..%2fkeys", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "nothing"] {
        problem(&server, server.get(&format!("/v1/reports/{name}")).await, 404, "unknown_report").await;
    }
}

#[tokio::test]
async fn any_key_may_read_reports_and_none_may_write_them() {
    let server = Server::with(example());
    server.store_report("a.json", AGREEMENT);
    let key = Key::wanted("ada", vec![Scope::Review], SystemTime::now()).unwrap();
    let key = keys::create(&keys::file_in(&server.data_dir()), key).unwrap();
    for path in ["/v1/reports", "/v1/reports/a"] {
        problem(&server, server.get(path).await, 401, "unauthenticated").await;
        ok(sent(server.client.get(format!("{}{path}", server.url)).bearer_auth(&key)).await).await;
        let put = sent(server.client.put(format!("{}{path}", server.url)).bearer_auth(&key).body("{}")).await;
        assert_eq!(put.status(), 403, "{path}");
    }
}
