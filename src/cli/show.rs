//! Verdicts as text, in 80 columns.

use std::fmt::Write;

use serde_json::Value;

use super::text::wrap;

const BAR: f64 = 30.0;

/// The legend of an absolute verdict.
pub(super) const ABSOLUTE_LEGEND: &str = "\
  (score: the most probable. expected: the mean of the bars. reward: that mean on
  0 to 1. label mass: the probability of all scores together; near 0, the judge
  is guessing)
";
/// The legend of a verdict on a pair that was shown together.
const PAIRWISE_LEGEND: &str = "\
  (the bars: the probability that each is the better one, over both orders. If
  the preference changes with the order, the judge is guessing: that is a tie)
";
/// The legend of a verdict on a pair whose responses were graded alone.
const GRADED_LEGEND: &str = "\
  (each was graded alone, and the higher reward wins. The bars: how probable it
  is that each would get the higher score)
";

/// A verdict, its distribution and its feedback.
pub(super) fn verdict(verdict: &Value) -> String {
    let mut text = numbers(verdict);
    if let Some(criteria) = verdict["criteria"].as_array() {
        for criterion in criteria {
            text.push_str(&absolute(criterion));
            text.push_str(&feedback(criterion));
        }
    } else {
        text.push_str(&feedback(verdict));
    }
    for (name, grade) in verdict["grades"].as_object().into_iter().flatten() {
        for criterion in grade["criteria"].as_array().into_iter().flatten() {
            if let Some(feedback) = criterion["feedback"].as_str() {
                text.push_str(&wrap(&format!("{}: {feedback}", name.to_uppercase()), 2));
            }
        }
    }
    text + &provenance(verdict)
}

/// A verdict and its distribution, without its feedback.
pub(super) fn numbers(verdict: &Value) -> String {
    if verdict["object"] == "verdict.relative" {
        return relative(verdict);
    }
    match verdict["criteria"].as_array() {
        Some(criteria) => {
            format!("reward {:.3}, over {} criteria\n", number(&verdict["reward"]), criteria.len())
        }
        None => absolute(verdict),
    }
}

/// The legend of a relative verdict.
pub(super) fn relative_legend(verdict: &Value) -> &'static str {
    if verdict["method"] == "absolute" { GRADED_LEGEND } else { PAIRWISE_LEGEND }
}

/// A problem on one line.
pub(super) fn problem(problem: &Value) -> String {
    // The form of OpenAI's API.
    if let Some(message) = problem["error"]["message"].as_str() {
        return message.to_owned();
    }
    let text = |key: &str| problem[key].as_str().unwrap_or_default().to_owned();
    let pointer = if problem["pointer"].is_string() { format!(" (at {})", text("pointer")) } else { String::new() };
    format!("{}: {}{pointer}", text("code"), text("detail"))
}

fn absolute(verdict: &Value) -> String {
    let name = verdict["rubric"]["name"].as_str().filter(|name| *name != "inline");
    let rubric = name.map_or_else(String::new, |name| format!("{name}: "));
    let mut text = wrap(
        &format!(
            "{rubric}score {}, expected {:.2}, reward {:.3}, label mass {:.2}",
            verdict["score"],
            number(&verdict["expected_score"]),
            number(&verdict["reward"]),
            number(&verdict["label_mass"])
        ),
        0,
    );
    for (label, probability) in verdict["distribution"].as_object().into_iter().flatten() {
        text.push_str(&bar(label, number(probability)));
    }
    text
}

fn relative(verdict: &Value) -> String {
    let consistent = match verdict["consistent"].as_bool() {
        Some(true) => ", both orders agree",
        Some(false) => ", the two orders disagree",
        None => "",
    };
    let preference = verdict["preference"].as_str().unwrap_or_default();
    let mut text = format!("preference {preference}{consistent}, label mass {:.2}\n", number(&verdict["label_mass"]));
    let a = number(&verdict["probability_a"]);
    text.push_str(&bar("A", a));
    text.push_str(&bar("B", 1.0 - a));
    for judgement in verdict["judgements"].as_array().into_iter().flatten() {
        let order = judgement["order"].as_str().unwrap_or_default();
        let preference = judgement["preference"].as_str().unwrap_or_default();
        let a = number(&judgement["probability_a"]);
        writeln!(text, "  shown as {order}: {preference}, P(A) {a:.3}").expect("writing to a string does not fail");
    }
    for (name, grade) in verdict["grades"].as_object().into_iter().flatten() {
        let (name, reward) = (name.to_uppercase(), number(&grade["reward"]));
        writeln!(text, "  {name} alone: reward {reward:.3}").expect("writing to a string does not fail");
    }
    text
}

/// The provenance, token counts and time of a verdict.
pub(super) fn provenance(verdict: &Value) -> String {
    let name = |key: &str| verdict[key]["name"].as_str().unwrap_or_default();
    let engine = verdict["model"]["engine"].as_str().unwrap_or_default();
    let tokens = |key: &str| verdict["usage"][key].as_u64().unwrap_or_default();
    let total = number(&verdict["timing_ms"]["total"]) / 1e3;
    let by = format!("by {} on {engine}, prompt set {}", name("model"), name("prompt"));
    let took = format!(
        "{} prompt tokens ({} cached), {} written; {total:.2} s",
        tokens("prompt_tokens"),
        tokens("cached_tokens"),
        tokens("completion_tokens")
    );
    wrap(&by, 2) + &wrap(&took, 2)
}

fn feedback(verdict: &Value) -> String {
    wrap(verdict["feedback"].as_str().unwrap_or_default(), 2)
}

fn bar(label: &str, probability: f64) -> String {
    let filled = (probability * BAR).round() as usize;
    format!("  {label:>3} {:<30} {probability:.3}\n", "█".repeat(filled))
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}
