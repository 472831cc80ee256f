//! Finding stop texts in text that arrives piece by piece.

/// Where the earliest stop text begins, if one is complete.
pub(super) fn find(text: &str, stops: &[String]) -> Option<usize> {
    stops.iter().filter_map(|stop| text.find(stop.as_str())).min()
}

/// How many bytes of `text` can be shown: the rest may be the beginning of a stop text, or is white space that
/// would belong to one.
pub(super) fn safe_len(text: &str, stops: &[String]) -> usize {
    let held = stops
        .iter()
        .filter_map(|stop| {
            (1..stop.len().min(text.len() + 1)).rev().find(|n| stop.is_char_boundary(*n) && text.ends_with(&stop[..*n]))
        })
        .max()
        .unwrap_or(0);
    text[..text.len() - held].trim_end().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_stop_is_held_back() {
        let stops = ["[RESULT]".to_owned(), "</s>".to_owned()];
        let check = |text: &str, shown: &str| assert_eq!(&text[..safe_len(text, &stops)], shown, "{text:?}");
        check("good", "good");
        check("good [", "good");
        check("good [RES", "good");
        check("good [REX", "good [REX");
        check("good. \n", "good.");
        check("a <", "a");
        check("[", "");
        check("", "");
        assert_eq!(find("ab [RESULT] </s>", &stops), Some(3));
        assert_eq!(find("ab [RESULT", &stops), None);
    }
}
