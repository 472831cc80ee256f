//! Formulas over the rewards of graders, such as `0.5 * a + min(b, c)`.

use std::collections::BTreeMap;

use minijinja::{Environment, Error, ErrorKind, Value};

type Function = fn(f64) -> f64;
type Fold = fn(f64, f64) -> f64;

/// Maximum length of a formula, in bytes.
const MAX_BYTES: usize = 2000;

/// A formula that cannot be evaluated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the formula cannot be evaluated: {0}")]
pub struct InvalidFormula(String);

/// Evaluates a formula: numbers, names of graders, `+ - * / ^`, parentheses, and the functions `min`, `max`, `abs`,
/// `floor`, `ceil`, `exp`, `sqrt` and `log`.
///
/// # Errors
/// If it is invalid, uses an unknown name, or its value is not a finite number.
pub fn evaluate(formula: &str, values: &BTreeMap<&str, f64>) -> Result<f64, InvalidFormula> {
    let wrong = |reason: String| InvalidFormula(reason);
    let allowed = |c: char| c.is_ascii_alphanumeric() || " \t\n_+-*/^()., ".contains(c);
    if let Some(other) = formula.chars().find(|c| !allowed(*c)) {
        return Err(wrong(format!("`{other}` is not allowed in it")));
    }
    if formula.len() > MAX_BYTES {
        return Err(wrong(format!("it has more than {MAX_BYTES} characters")));
    }
    let environment = environment();
    let formula = formula.replace('^', "**");
    let refused = |error: Error| wrong(error.detail().unwrap_or("it is not a formula").to_owned());
    let expression = environment.compile_expression(&formula).map_err(refused)?;
    let result =
        expression.eval(Value::from_pairs(values.iter().map(|(name, value)| (*name, *value)))).map_err(refused)?;
    let number = f64::try_from(result).map_err(|_| wrong("its value is not a number".to_owned()))?;
    if number.is_finite() { Ok(number) } else { Err(wrong(format!("its value is {number}"))) }
}

/// Checks that a formula can be evaluated over graders of these names.
///
/// # Errors
/// If it is invalid or uses an unknown name.
pub fn check<'a>(formula: &str, names: impl Iterator<Item = &'a str>) -> Result<(), InvalidFormula> {
    // Different values, so that the difference of two is not zero.
    let values = names.enumerate().map(|(index, name)| (name, 0.5 + index as f64 / 1000.0)).collect();
    evaluate(formula, &values).map(drop)
}

/// A template environment with arithmetic functions only.
fn environment() -> Environment<'static> {
    let mut env = Environment::empty();
    env.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    let functions: [(&str, Function); 6] = [
        ("abs", f64::abs),
        ("floor", f64::floor),
        ("ceil", f64::ceil),
        ("exp", f64::exp),
        ("sqrt", f64::sqrt),
        ("log", f64::ln),
    ];
    for (name, function) in functions {
        env.add_function(name, function);
    }
    let folds: [(&str, Fold); 2] = [("min", f64::min), ("max", f64::max)];
    for (name, fold) in folds {
        env.add_function(name, move |numbers: minijinja::value::Rest<f64>| {
            let first = numbers.iter().copied().reduce(fold);
            first.ok_or_else(|| Error::new(ErrorKind::MissingArgument, format!("{name} of nothing")))
        });
    }
    env
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_give_numbers_or_say_why_not() {
        let values = BTreeMap::from([("a", 0.5), ("b", 2.0)]);
        let check = |formula: &str, expected: Result<f64, &str>| match (evaluate(formula, &values), expected) {
            (Ok(found), Ok(expected)) => assert!((found - expected).abs() < 1e-12, "{formula}: {found}"),
            (Err(error), Err(word)) => assert!(error.to_string().contains(word), "{formula}: {error}"),
            (found, _) => panic!("{formula}: {found:?}"),
        };
        check("0.25 * a + b / 4", Ok(0.625));
        check("b ^ 3 - 1", Ok(7.0));
        check("min(a, b, 1) + max(a, b)", Ok(2.5));
        check("sqrt(abs(0 - 16)) + floor(1.5) + ceil(1.5) + exp(0) + log(1)", Ok(8.0));
        check("c", Err("not a number"));
        check("a +", Err("cannot be evaluated"));
        check("a / 0", Err("cannot be evaluated"));
        check("1e308 * a + 1e308 * b", Err("its value is inf"));
        check("1e308 * b - 1e308 * b", Err("its value is NaN"));
        check("'a' * 9", Err("not allowed"));
        check("a[0]", Err("not allowed"));
        check("range(9)", Err("cannot be evaluated"));
        check(&"a+".repeat(2000), Err("characters"));
    }
}
