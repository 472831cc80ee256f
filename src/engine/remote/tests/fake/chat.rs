//! A provider of chat completions.

use serde_json::{Value, json};

use super::{Reply, State, stops};

impl State {
    /// Writes a sentence; a question after options is answered with A in six of ten cases, with B in three, and else with
    /// a word. A picture takes 85 tokens, unless it leaves pictures out.
    pub(super) fn chat(&mut self, body: &Value) -> Reply {
        if self.new_limit && body.get("max_completion_tokens").is_none() {
            return Reply::Status(400, String::new());
        }
        let parts = body["messages"].as_array().into_iter().flatten();
        let parts = parts.flat_map(|message| message["content"].as_array().into_iter().flatten());
        let pictures = parts.filter(|part| part["type"] == "image_url").count();
        let tokens = 70 + if self.blind { 0 } else { 85 * pictures };
        let usage =
            json!({"prompt_tokens": tokens, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 64}});
        if body["stream"] == true {
            let text = "It is good. [RESULT] 5";
            let stop = stops(&body["stop"]).iter().filter_map(|stop| text.find(stop.as_str())).min();
            let text = text[..stop.unwrap_or(text.len())].split_inclusive(' ');
            let mut events: Vec<String> =
                text.map(|part| json!({"choices": [{"delta": {"content": part}}]}).to_string()).collect();
            events.push(json!({"choices": [{"delta": {}, "finish_reason": "stop"}]}).to_string());
            events.push(json!({"choices": [], "usage": usage}).to_string());
            events.push("[DONE]".to_owned());
            return Reply::Stream(events, true);
        }
        let asked = self.seen.iter().filter(|(_, body)| body["stream"] != true).count();
        let said = ["A", "A", "B.", "A", " A", "**B**", "A", "B", "A", "Perhaps"][asked % 10];
        let top: Vec<Value> = [("A", 0.5), (" A", 0.1), ("B", 0.3), ("The", 0.04)]
            .map(|(token, p): (&str, f64)| json!({"token": token, "logprob": p.ln()}))
            .into();
        let wanted = body["logprobs"] == true && !self.silent;
        let logprobs = if wanted { json!({"content": [{"token": "A", "top_logprobs": top}]}) } else { Value::Null };
        Reply::Json(json!({"model": self.fingerprint, "usage": usage, "choices": [
            {"message": {"role": "assistant", "content": said}, "logprobs": logprobs, "finish_reason": "stop"}]}))
    }
}
