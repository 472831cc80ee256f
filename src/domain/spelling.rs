//! Names that a caller may have meant.

/// Names are close from this similarity on (Jaro-Winkler, 0 to 1): one or two letters apart, or with a common beginning.
const CLOSE: f64 = 0.87;
/// Longer names, in bytes, are no slips. A caller's name may be as long as a body, and comparing takes its time.
const LONGEST: usize = 256;

/// The known name that is closest to a misspelt one, if one is close, or that it is a slip of.
#[must_use]
pub fn nearest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    if name.len() > LONGEST {
        return None;
    }
    let (small, known) = (name.to_lowercase(), Vec::from_iter(known));
    let close = known.iter().map(|known| (strsim::jaro_winkler(&small, &known.to_lowercase()), *known));
    let best = close.filter(|(similarity, known)| *similarity >= CLOSE && *known != name);
    let best = best.max_by(|(one, _), (other, _)| one.total_cmp(other)).map(|(_, known)| known);
    best.or_else(|| slip_of(&small, known))
}

/// The known name that one is a slip of: at most two letters are wrong, and fewer than a third. Stricter than [`nearest`],
/// for names that may also be right, such as the columns of a table.
#[must_use]
pub fn slip_of<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let length = name.chars().count();
    let most = (length / 3).min(2);
    // The distance is at least the difference of the lengths.
    let alike = known.into_iter().filter(|known| known.chars().count().abs_diff(length) <= most);
    let by_distance = alike.map(|known| (strsim::levenshtein(name, known), known));
    by_distance.filter(|(distance, _)| (1..=most).contains(distance)).min().map(|(_, known)| known)
}

/// ` (did you mean ...?)`, or nothing.
#[must_use]
pub fn suggestion<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    nearest(name, known).map(|meant| format!(" (did you mean `{meant}`?)")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_names_are_found_and_others_are_not() {
        let known = ["helpfulness", "factual_validity", "reference_answer", "response", "rubric"];
        let check = |name: &str, expected: Option<&str>| assert_eq!(nearest(name, known), expected, "{name}");
        check("Helpfulness", Some("helpfulness"));
        check("helpfullness", Some("helpfulness"));
        check("respnse", Some("response"));
        check("reference", Some("reference_answer"));
        check("rubrik", Some("rubric"));
        check("ubrcic", Some("rubric"));
        check("colour", None);
        check(&"rubric".repeat(1 << 20), None);
        check("", None);
        check("rubric", None);
        check(&format!("rubric{}", "c".repeat(LONGEST)), None);
    }

    #[test]
    fn a_slip_is_a_letter_or_two() {
        let known = ["instruction", "reference_answer", "response", "rubric"];
        let check = |name: &str, expected: Option<&str>| assert_eq!(slip_of(name, known), expected, "{name}");
        check("responce", Some("response"));
        check("instructions", Some("instruction"));
        check("refrence_answer", Some("reference_answer"));
        check("rubrics", Some("rubric"));
        check("reference", None);
        check("answer", None);
        check("team", None);
        check("rubric", None);
    }
}
