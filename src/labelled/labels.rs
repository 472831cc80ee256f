//! Labels as files write them.

use serde_json::Value;

use super::mapping::LabelNames;
use crate::domain::Preference;

/// Which numbers stood for preferences. 1 is A, 2 is B and 0 a tie, as in PandaLM's files; others mean 0 and 1 by A and B.
/// So numbers without a 2 could be either, and are refused.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    any: bool,
    two: bool,
}

impl Numbers {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.any && !self.two {
            let what = "its labels are numbers, and none is 2: 0 and 1 could be a tie and A, or A and B; say which with \
                        --labels, such as --labels 0=A,1=B";
            return Err(what.into());
        }
        Ok(())
    }
}

/// A preference: A, B or tie, a or b, 1 for A, 2 for B and 0 for a tie; or what the user says.
pub(super) fn preference(
    value: &Value,
    names: Option<&LabelNames>,
    numbers: &mut Numbers,
) -> Result<Preference, String> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        other => other.to_string(),
    };
    if let Some(names) = names {
        return names.get(&text).ok_or_else(|| format!("its label `{text}` is not in --labels"));
    }
    match text.as_str() {
        "A" | "a" => Ok(Preference::A),
        "B" | "b" => Ok(Preference::B),
        "tie" => Ok(Preference::Tie),
        "0" | "1" | "2" => {
            numbers.any = true;
            numbers.two |= text == "2";
            Ok(match text.as_str() {
                "0" => Preference::Tie,
                "1" => Preference::A,
                _ => Preference::B,
            })
        }
        _ => Err(format!(
            "its label `{text}` is not A, B or tie; say what it means with --labels, such as --labels left=A"
        )),
    }
}

/// A score: a number, or a number as a text, as in a CSV file; of a list of numbers, their mean.
pub(super) fn score(value: &Value) -> Result<f64, String> {
    let wrong = || format!("its label {value} is not a number");
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Array(scores) if !scores.is_empty() => {
            let scores: Vec<f64> = scores.iter().map(score).collect::<Result<_, _>>()?;
            Some(scores.iter().sum::<f64>() / scores.len() as f64)
        }
        _ => None,
    };
    number.filter(|number| number.is_finite()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn preferences_are_read_strictly() {
        let check = |value: Value, expected: Option<Preference>| {
            assert_eq!(preference(&value, None, &mut Numbers::default()).ok(), expected, "{value}");
        };
        check(json!("A"), Some(Preference::A));
        check(json!("b"), Some(Preference::B));
        check(json!(" tie "), Some(Preference::Tie));
        check(json!(0), Some(Preference::Tie));
        check(json!("1"), Some(Preference::A));
        check(json!(2), Some(Preference::B));
        for wrong in [json!("both"), json!(""), json!(3), json!(1.0), json!(null), json!(["A"]), json!(true)] {
            check(wrong, None);
        }
        let names: LabelNames = "0=A,1=B".parse().unwrap();
        let with_names = |value| preference(&value, Some(&names), &mut Numbers::default()).ok();
        assert_eq!(
            (with_names(json!(0)), with_names(json!("1")), with_names(json!("A"))),
            (Some(Preference::A), Some(Preference::B), None)
        );
    }

    #[test]
    fn numbers_that_could_mean_two_things_are_refused() {
        let check = |values: &[i32], expected: bool| {
            let mut numbers = Numbers::default();
            for value in values {
                preference(&json!(value), None, &mut numbers).unwrap();
            }
            assert_eq!(numbers.check().is_ok(), expected, "{values:?}");
        };
        check(&[], true);
        check(&[0, 1], false);
        check(&[1, 1], false);
        check(&[0, 1, 2], true);
    }

    #[test]
    fn scores_are_numbers_or_means() {
        let check = |value: Value, expected: Option<f64>| assert_eq!(score(&value).ok(), expected, "{value}");
        check(json!(4), Some(4.0));
        check(json!("3.5"), Some(3.5));
        check(json!([5, 4, 3]), Some(4.0));
        for wrong in [json!([]), json!("good"), json!("NaN"), json!("inf"), json!(null), json!({}), json!([1, null])] {
            check(wrong, None);
        }
    }
}
