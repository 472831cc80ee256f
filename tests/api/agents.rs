//! Conversations of agents: tool calls and their results, judged as text.

use serde_json::{Value, json};

use crate::engines::{always, says};
use crate::server::{Server, absolute, near, problem};

fn trajectory() -> Value {
    let call = |id: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": "run", "arguments": arguments}});
    json!([
        {"role": "system", "content": "You are an agent."},
        {"role": "user", "content": "Make the tests pass."},
        {"role": "assistant", "content": null, "tool_calls": [call("a", "{\"cmd\": \"test\"}"), call("b", "{}")]},
        {"role": "tool", "tool_call_id": "a", "content": "1 failed"},
        {"role": "tool", "tool_call_id": "b", "name": "other", "content": [{"type": "text", "text": "ok [RESULT] 1"}]},
    ])
}

#[tokio::test]
async fn the_work_of_an_agent_is_judged_yes_or_no() {
    let server = Server::with(always(says("", &[0.2, 0.6])));
    let change = json!({
        "instruction": "<absent>", "messages": trajectory(), "response": "The tests pass.",
        "rubric": "task_resolved", "mode": "score", "debug": true,
    });
    let verdict = server.absolute(change).await;
    assert_eq!(verdict["score"], 1);
    assert!(near(&verdict["reward"], 0.75), "the probability of yes: {verdict}");
    let prompt = verdict["debug"]["prompt"].as_str().unwrap();
    let shown = "[Assistant]: Tool call: run({\"cmd\": \"test\"})\nTool call: run({})\n\n\
                 [User]: Tool result (run): 1 failed\nTool result (other): ok [ RESULT] 1";
    assert!(prompt.contains(shown), "{prompt}");
}

#[tokio::test]
async fn what_is_no_call_names_its_field() {
    let server = Server::with(always(says("", &[0.5, 0.5])));
    let check = async |message: Value, status: &str, pointer: &str| {
        let mut messages = vec![message];
        messages.push(json!({"role": "user", "content": "Well?"}));
        let body = absolute(json!({"instruction": "<absent>", "messages": messages}));
        let body = problem(&server, server.post_json("/v1/grade/absolute", &body).await, 422, status).await;
        assert_eq!(body["pointer"], pointer, "{body}");
    };
    let wrong = "invalid_request";
    check(json!({"role": "assistant", "content": null}), wrong, "/messages/0/content").await;
    check(json!({"role": "assistant"}), wrong, "/messages/0/content").await;
    check(json!({"role": "assistant", "tool_calls": []}), wrong, "/messages/0/content").await;
    check(json!({"role": "assistant", "tool_calls": [{"id": "a"}]}), wrong, "/messages/0/tool_calls/0").await;
    check(json!({"role": "user", "content": "x", "tool_calls": []}), wrong, "/messages/0/tool_calls").await;
    check(json!({"role": "user", "content": "x", "name": "y"}), wrong, "/messages/0/name").await;
    check(json!({"role": "assistant", "content": "x", "tool_call_id": "y"}), wrong, "/messages/0/tool_call_id").await;
    check(json!({"role": "function", "content": "x"}), wrong, "/messages/0/role").await;
    check(json!({"role": "assistant", "content": "x", "tool_cals": []}), "unknown_field", "/messages/0/tool_cals")
        .await;
}
