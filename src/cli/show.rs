//! Verdicts as a person reads them.

use std::fmt::Write;

use serde_json::Value;

const WIDTH: usize = 76;
const BAR: f64 = 30.0;

/// A verdict, its distribution and its feedback.
pub(super) fn verdict(verdict: &Value) -> String {
    let mut text = String::new();
    if verdict["object"] == "verdict.relative" {
        relative(verdict, &mut text);
    } else if let Some(criteria) = verdict["criteria"].as_array() {
        line(&mut text, format!("reward {:.3}, over {} criteria", number(&verdict["reward"]), criteria.len()));
        criteria.iter().for_each(|criterion| absolute(criterion, &mut text));
    } else {
        absolute(verdict, &mut text);
    }
    provenance(verdict, &mut text);
    text
}

/// A problem on one line.
pub(super) fn problem(problem: &Value) -> String {
    let text = |key: &str| problem[key].as_str().unwrap_or_default().to_owned();
    let pointer = if problem["pointer"].is_string() { format!(" (at {})", text("pointer")) } else { String::new() };
    format!("{}: {}{pointer}", text("code"), text("detail"))
}

fn absolute(verdict: &Value, text: &mut String) {
    let rubric = verdict["rubric"]["name"].as_str().unwrap_or("inline");
    line(
        text,
        format!(
            "{rubric}: score {}, expected {:.2}, reward {:.3}, label mass {:.2}",
            verdict["score"],
            number(&verdict["expected_score"]),
            number(&verdict["reward"]),
            number(&verdict["label_mass"])
        ),
    );
    for (label, probability) in verdict["distribution"].as_object().into_iter().flatten() {
        bar(text, label, number(probability));
    }
    feedback(&verdict["feedback"], text);
}

fn relative(verdict: &Value, text: &mut String) {
    let consistent = match verdict["consistent"].as_bool() {
        Some(true) => ", both orders agree",
        Some(false) => ", the two orders disagree",
        None => "",
    };
    let preference = verdict["preference"].as_str().unwrap_or_default();
    line(text, format!("preference {preference}{consistent}, label mass {:.2}", number(&verdict["label_mass"])));
    let a = number(&verdict["probability_a"]);
    bar(text, "A", a);
    bar(text, "B", 1.0 - a);
    for judgement in verdict["judgements"].as_array().into_iter().flatten() {
        let order = judgement["order"].as_str().unwrap_or_default();
        let preference = judgement["preference"].as_str().unwrap_or_default();
        line(text, format!("  shown as {order}: {preference}, P(A) {:.3}", number(&judgement["probability_a"])));
    }
    feedback(&verdict["feedback"], text);
}

fn provenance(verdict: &Value, text: &mut String) {
    let name = |key: &str| verdict[key]["name"].as_str().unwrap_or_default();
    let engine = verdict["model"]["engine"].as_str().unwrap_or_default();
    let tokens = |key: &str| verdict["usage"][key].as_u64().unwrap_or_default();
    let total = number(&verdict["timing_ms"]["total"]) / 1e3;
    line(
        text,
        format!(
            "  by {} on {engine}, prompt {}; {} prompt tokens ({} cached), {} written; {total:.2} s",
            name("model"),
            name("prompt"),
            tokens("prompt_tokens"),
            tokens("cached_tokens"),
            tokens("completion_tokens")
        ),
    );
}

fn feedback(feedback: &Value, text: &mut String) {
    let Some(feedback) = feedback.as_str().filter(|feedback| !feedback.is_empty()) else { return };
    let mut row = String::from(" ");
    for word in feedback.split_whitespace() {
        if row.chars().count() + word.chars().count() >= WIDTH {
            line(text, std::mem::replace(&mut row, String::from(" ")));
        }
        row.push(' ');
        row.push_str(word);
    }
    line(text, row);
}

fn bar(text: &mut String, label: &str, probability: f64) {
    let filled = (probability * BAR).round() as usize;
    line(text, format!("  {label:>3} {:<30} {probability:.3}", "█".repeat(filled)));
}

fn line(text: &mut String, row: impl AsRef<str>) {
    writeln!(text, "{}", row.as_ref()).expect("writing to a string does not fail");
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}
