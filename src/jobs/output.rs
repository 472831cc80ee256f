//! The lines of outputs, in OpenAI's batch format.

use serde_json::{Value, json};

/// The reply of a route to a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineReply {
    /// The HTTP status that the route answers with.
    pub status: u16,
    /// The id of the request in the log.
    pub request_id: String,
    /// The JSON of the answer.
    pub body: String,
}

/// The outcome of lines that were answered well.
const OK: &str = "ok";

impl LineReply {
    /// `ok`, or the code of the error.
    #[must_use]
    pub fn outcome(&self) -> String {
        if (200..300).contains(&self.status) {
            return OK.to_owned();
        }
        let body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        let code = body.get("code").or_else(|| body.get("error")?.get("code")).and_then(Value::as_str);
        code.map_or_else(|| format!("status_{}", self.status), str::to_owned)
    }

    /// The line of an output.
    #[must_use]
    pub fn line(&self, batch: &str, number: i64, custom_id: &str) -> String {
        let (id, custom_id) = (id(batch, number), Value::from(custom_id));
        let request_id = Value::from(self.request_id.as_str());
        // The answer is put in as it is, unless it is not JSON in one line.
        let is_line = !self.body.contains('\n') && serde_json::from_str::<serde::de::IgnoredAny>(&self.body).is_ok();
        let body = if is_line { self.body.clone() } else { Value::from(self.body.as_str()).to_string() };
        let status = self.status;
        format!(
            r#"{{"id":"{id}","custom_id":{custom_id},"response":{{"status_code":{status},"request_id":{request_id},"body":{body}}},"error":null}}"#
        )
    }
}

/// The line of an output for a line that was not answered by a route.
#[must_use]
pub(super) fn unanswered(batch: &str, number: i64, custom_id: &str, code: &str, message: &str) -> String {
    let error = json!({ "code": code, "message": message });
    json!({ "id": id(batch, number), "custom_id": custom_id, "response": null, "error": error }).to_string()
}

fn id(batch: &str, number: i64) -> String {
    format!("batch_req_{}_{number}", batch.trim_start_matches("batch_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_holds_the_answer_as_it_is() {
        let check = |status: u16, body: &str, outcome: &str, expected: &str| {
            let reply = LineReply { status, request_id: "req_1".into(), body: body.into() };
            assert_eq!(reply.outcome(), outcome);
            let line = reply.line("batch_X", 3, "a\"b");
            let read: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(read["custom_id"], "a\"b");
            assert_eq!((&read["id"], &read["response"]["status_code"]), (&json!("batch_req_X_3"), &json!(status)));
            assert!(line.contains(expected) && !line.contains('\n'), "{line}");
        };
        check(200, r#"{"reward":0.10}"#, "ok", r#""body":{"reward":0.10}"#);
        check(422, r#"{"code":"context_overflow"}"#, "context_overflow", r#""body":{"code""#);
        check(400, r#"{"error":{"code":"unknown_model"}}"#, "unknown_model", r#""body":{"error""#);
        check(502, "<html>\n", "status_502", r#""body":"<html>\n""#);
        let line = unanswered("batch_X", 0, "a", "batch_expired", "too late");
        assert!(line.contains(r#""response":null,"error":{"code":"batch_expired","message":"too late"}"#), "{line}");
    }
}
