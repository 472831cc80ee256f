//! `gavel rerun`: grades what a stored verdict graded again, and compares.

use clap::Args;
use serde_json::Value;

use super::CliError;
use super::client::{ANSWER_TIMEOUT, Client};

#[derive(Debug, Args)]
pub(super) struct RerunArgs {
    /// The id of a verdict in the log of verdicts.
    id: String,
    /// URL of the server.
    #[arg(long, default_value = "http://127.0.0.1:8080", value_name = "URL")]
    server: String,
    /// Print both verdicts, and what differs, as JSON.
    #[arg(long)]
    json: bool,
}

/// The numbers and names that are compared, by their pointers.
const COMPARED: [&str; 12] = [
    "/score",
    "/expected_score",
    "/reward",
    "/preference",
    "/probability_a",
    "/consistent",
    "/label_mass",
    "/model/digest",
    "/prompt/digest",
    "/rubric/digest",
    "/examples/digest",
    "/version",
];

pub(super) async fn run(args: &RerunArgs) -> Result<(), CliError> {
    let client = Client::new(&args.server, ANSWER_TIMEOUT)?;
    let mut logged = client.fetch(&format!("/v1/verdicts/{}", args.id)).await?;
    let (mut request, then) = (logged["request"].take(), logged["verdict"].take());
    let route = logged["route"].as_str().unwrap_or_default();
    if let Some(request) = request.as_object_mut() {
        // Otherwise it may be the same verdict.
        request.insert("cache".to_owned(), false.into());
    }
    let now = client.send(route, &request).await?;
    let rows = compared(&then, &now);
    if args.json {
        let differences: serde_json::Map<String, Value> = rows
            .iter()
            .filter(|row| row.differs)
            .map(|row| (row.name.clone(), serde_json::json!({"then": row.then, "now": row.now})))
            .collect();
        outln!("{:#}", serde_json::json!({"route": route, "then": then, "now": now, "differences": differences}));
        return Ok(());
    }
    outln!("{route}, verdict {}", args.id);
    outln!("{:<16} {:<24} {:<24}", "", "THEN", "NOW");
    for row in &rows {
        let mark = if row.differs { "differs" } else { "" };
        let line = format!("{:<16} {:<24} {:<24} {mark}", row.name, shown(&row.then), shown(&row.now));
        outln!("{}", line.trim_end());
    }
    Ok(())
}

/// A field of two verdicts.
#[derive(Debug, PartialEq)]
struct Row {
    name: String,
    then: Value,
    now: Value,
    differs: bool,
}

/// The fields that one of two verdicts has. Numbers are the same up to rounding.
fn compared(then: &Value, now: &Value) -> Vec<Row> {
    let field = |pointer: &&str| {
        let (then, now) = (then.pointer(pointer)?.clone(), now.pointer(pointer).cloned().unwrap_or_default());
        let same = match (then.as_f64(), now.as_f64()) {
            (Some(then), Some(now)) => (then - now).abs() < 1e-9,
            _ => then == now,
        };
        let name = pointer.trim_start_matches('/').replace('/', " ");
        (!then.is_null() || !now.is_null()).then_some(Row { name, then, now, differs: !same })
    };
    COMPARED.iter().filter_map(field).collect()
}

/// A value in a column.
fn shown(value: &Value) -> String {
    match value {
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or_default();
            if number.fract() == 0.0 { format!("{number}") } else { format!("{number:.4}") }
        }
        Value::String(text) => match text.strip_prefix("sha256:") {
            Some(digest) => format!("{}…", &digest[..digest.len().min(12)]),
            None => text.clone(),
        },
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_differs_is_marked() {
        let then =
            json!({"score": 4, "reward": 0.75, "preference": null, "model": {"digest": "sha256:0123456789abcdef"}});
        let now = json!({"score": 4, "reward": 0.7500000000001, "model": {"digest": "sha256:1123456789abcdef"}});
        let rows = compared(&then, &now);
        let told: Vec<_> = rows.iter().map(|row| (row.name.as_str(), row.differs, shown(&row.then))).collect();
        let expected = [
            ("score", false, "4".to_owned()),
            ("reward", false, "0.7500".to_owned()),
            ("model digest", true, "0123456789ab…".to_owned()),
        ];
        assert_eq!(told, expected);
    }
}
