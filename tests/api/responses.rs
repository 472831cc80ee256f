//! `POST /v1/responses`: the answers of chat completions in OpenAI's newer form.

use gavel::engine::scripted::Answer;
use serde_json::{Value, json};

use crate::engines::{always, asking, example, says};
use crate::server::{Server, ok, redacted};

const RESPONSES: &str = "/v1/responses";

/// The events of a stream, with their names.
fn events(text: &str) -> Vec<(String, Value)> {
    let event = |event: &str| {
        let (name, data) = event.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        (name.strip_prefix("event: ").unwrap().to_owned(), data)
    };
    text.split("\n\n").filter(|event| !event.is_empty()).map(event).collect()
}

/// The text of a whole response.
fn output_text(response: &Value) -> &str {
    response["output"][0]["content"][0]["text"].as_str().unwrap()
}

/// Ids, times and digests are different each time.
fn stable(mut value: Value) -> Value {
    fn walk(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (name, field) in fields.iter_mut() {
                    match name.as_str() {
                        "id" | "item_id" | "created_at" | "call_id" => *field = "[…]".into(),
                        _ => walk(field),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(walk),
            _ => {}
        }
    }
    walk(&mut value);
    redacted(value)
}

#[tokio::test]
async fn a_judge_model_answers_with_its_verdict() {
    let server = Server::with(example());
    let body = json!({
        "model": "gavel-absolute:helpfulness",
        "instructions": "You are a fair judge.",
        "input": "###Response to evaluate:\nThe sea is blue.",
        "include": ["message.output_text.logprobs"],
        "top_logprobs": 2,
    });
    let answer = ok(server.post_json(RESPONSES, &body).await).await;
    assert!(output_text(&answer).contains("[RESULT]"), "{answer}");
    insta::assert_json_snapshot!("response", stable(answer));
    // The same in pieces.
    let mut streamed = body.clone();
    streamed["stream"] = json!(true);
    let text = server.post_json(RESPONSES, &streamed).await.text().await.unwrap();
    let events = events(&text);
    let sequence: Vec<u64> = events.iter().map(|(_, event)| event["sequence_number"].as_u64().unwrap()).collect();
    assert_eq!(sequence, (0..events.len() as u64).collect::<Vec<_>>());
    let delta = |(name, event): &(String, Value)| {
        (name == "response.output_text.delta").then(|| event["delta"].as_str().unwrap().to_owned())
    };
    let whole: String = events.iter().filter_map(delta).collect();
    let (last, event) = events.last().unwrap();
    assert_eq!(last, "response.completed");
    assert_eq!(output_text(&event["response"]), whole);
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    let of = |name: &str| names.iter().position(|found| *found == name).unwrap_or_else(|| panic!("{name}: {names:?}"));
    let order = [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ];
    assert!(order.map(of).is_sorted(), "{names:?}");
    assert!(event["response"]["gavel"]["verdicts"][0]["label_mass"].as_f64().unwrap() > 0.5, "{event}");
}

#[tokio::test]
async fn conversations_with_calls_reach_the_model_and_schemas_hold() {
    let server = Server::with(asking(|job| {
        let prompt = job.prompt.text();
        assert!(prompt.contains("Tool call: weather({\"city\":\"Rome\"})"), "{prompt}");
        assert!(prompt.contains("Tool result (weather): Rain"), "{prompt}");
        says("{\"rain\": false}", &[])
    }));
    let input = json!([
        {"role": "user", "content": [{"type": "input_text", "text": "Does it rain?"}]},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{\"city\":\"Rome\"}"},
        {"type": "function_call_output", "call_id": "c1", "output": "Rain"},
    ]);
    let schema = json!({"type": "object", "properties": {"rain": {"type": "boolean"}}, "required": ["rain"],
        "additionalProperties": false});
    let format = json!({"format": {"type": "json_schema", "name": "weather", "schema": schema, "strict": true}});
    let answer = ok(server.post_json(RESPONSES, &json!({"input": input, "text": format})).await).await;
    assert_eq!(output_text(&answer), "{\"rain\": false}");
    // A forced call is an item of its own.
    let tools = json!([{"type": "function", "name": "report", "parameters": schema}]);
    let forced = json!({"input": input, "tools": tools, "tool_choice": {"type": "function", "name": "report"}});
    let answer = ok(server.post_json(RESPONSES, &forced).await).await;
    let call = &answer["output"][0];
    assert_eq!((&call["type"], &call["name"]), (&json!("function_call"), &json!("report")), "{answer}");
    assert_eq!(call["arguments"], "{\"rain\": false}");
    let mut streamed = forced;
    streamed["stream"] = json!(true);
    let text = server.post_json(RESPONSES, &streamed).await.text().await.unwrap();
    let events = events(&text);
    let (_, done) = events.iter().find(|(name, _)| name == "response.function_call_arguments.done").unwrap();
    assert_eq!(done["arguments"], "{\"rain\": false}");
}

#[tokio::test]
async fn mistakes_point_into_the_request() {
    let server = Server::with(always(Answer::default()));
    let check = async |body: Value, param: &str| {
        let response = server.post_json(RESPONSES, &body).await;
        let status = response.status();
        let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert!(status.is_client_error() && answer["error"]["param"] == param, "{status} {answer}");
    };
    check(json!({"input": []}), "input").await;
    check(json!({"input": 3}), "input").await;
    check(json!({"instructions": "x", "input": [{"role": "critic", "content": "y"}]}), "input.0.role").await;
    let picture = json!([{"role": "user", "content": [{"type": "input_image", "image_url": "data:,"}]}]);
    check(json!({"input": picture}), "input.0.content.0").await;
    check(json!({"input": [{"type": "computer_call"}]}), "input.0").await;
    check(json!({"input": "x", "previous_response_id": "resp_1"}), "previous_response_id").await;
    check(json!({"input": "x", "background": true}), "background").await;
    check(json!({"input": "x", "max_output_tokens": 0}), "max_output_tokens").await;
    check(json!({"input": "x", "model": "gpt-9"}), "model").await;
    let other =
        json!({"format": {"type": "json_schema", "name": "x", "schema": {"type": "object", "required": ["x"]}}});
    check(json!({"input": "x", "model": "gavel-absolute", "text": other}), "text.format").await;
}
