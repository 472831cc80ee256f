//! Log lines: one a request, with its id.

use serde_json::{Value, json};

use crate::program::Program;
use crate::server::sent;

async fn logged(settings: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::start(folder.path(), settings);
    program.grade_all().await;
    program.stop()
}

#[tokio::test]
async fn a_request_has_one_line_of_json_with_its_id() {
    let text = logged(&[("GAVEL_LOG__FORMAT", "json")]).await;
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect();
    for (id, status) in [("req-good", 200), ("req-unknown", 404), ("req-stream", 200)] {
        let found: Vec<&Value> = lines.iter().filter(|line| line["request_id"] == id).collect();
        assert_eq!(found.len(), 1, "{id} in\n{text}");
        let line = found[0];
        assert_eq!((&line["message"], &line["level"]), (&"answered".into(), &"INFO".into()), "{line}");
        assert_eq!((&line["status"], &line["method"]), (&status.into(), &"POST".into()), "{line}");
        assert_eq!(line["route"], "/v1/grade/absolute", "{line}");
        assert!(line["milliseconds"].as_f64().is_some_and(|time| time > 0.0), "{line}");
        assert!(line["timestamp"].is_string(), "{line}");
        assert_eq!(line["code"].as_str(), (status == 404).then_some("unknown_rubric"), "{line}");
        assert_eq!(line["peer"], "127.0.0.1", "{line}");
        let judged = status == 200;
        assert_eq!(line["model"].as_str(), judged.then_some("scripted"), "{line}");
        assert_eq!(line["rubric"].as_str(), judged.then_some("helpfulness"), "{line}");
        assert_eq!(line["judgements"].as_u64(), judged.then_some(1), "{line}");
        for field in ["prompt_tokens", "completion_tokens", "label_mass"] {
            assert_eq!(line[field].as_f64().is_some_and(|value| value > 0.0), judged, "{field}: {line}");
        }
    }
    assert!(!text.contains("/readyz"), "probes are not worth a line:\n{text}");
}

#[tokio::test]
async fn a_request_has_one_line_of_text_with_its_id() {
    let text = logged(&[]).await;
    for (id, status) in [("req-good", 200), ("req-unknown", 404), ("req-stream", 200)] {
        let found: Vec<&str> = text.lines().filter(|line| line.contains(&format!("request_id=\"{id}\""))).collect();
        assert_eq!(found.len(), 1, "{id} in\n{text}");
        let parts =
            ["INFO", "method=\"POST\"", "route=\"/v1/grade/absolute\"", "answered", &format!("status={status}")];
        assert!(parts.iter().all(|part| found[0].contains(part)), "{}", found[0]);
    }
    assert!(!text.contains('\u{1b}'), "no colours in a file:\n{text}");
}

#[tokio::test]
async fn a_level_above_info_logs_no_requests() {
    let text = logged(&[("GAVEL_LOG__LEVEL", "warn")]).await;
    assert!(!text.contains("request_id"), "{text}");
}

#[tokio::test]
async fn no_judged_text_is_in_the_log_or_in_a_metric() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::start(folder.path(), &[("GAVEL_LOG__LEVEL", "debug")]);
    let rubric = json!({"criterion": "Is it a zyzzyva?", "descriptions": {"1": "zyzzyva", "2": "No."}});
    let judged = json!({
        "instruction": "zyzzyva", "response": "zyzzyva", "reference_answer": "zyzzyva", "rubric": rubric, "mode": "feedback",
        "context": [{"text": "zyzzyva"}],
    });
    assert_eq!(program.grade(judged, &[]).await, 200);
    for wrong in [
        json!({"response": ["zyzzyva"]}),
        json!({"rubric": {"criterion": "zyzzyva", "descriptions": {"1": "zyzzyva"}}}),
        json!({"mode": "zyzzyva"}),
        json!({"response": "zyzzyva ".repeat(9000)}),
    ] {
        assert!((400..500).contains(&program.grade(wrong.clone(), &[]).await), "{wrong}");
    }
    let metrics = sent(program.client.get(format!("{}/metrics", program.url))).await.text().await.unwrap();
    let log = program.stop();
    assert!(log.contains("answered") && metrics.contains("gavel_judgements_total"));
    for (of, text) in [("log", log), ("metrics", metrics)] {
        assert!(!text.contains("zyzzyva"), "{of}: {text}");
    }
}
