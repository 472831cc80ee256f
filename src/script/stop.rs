//! Finding stop texts in text that arrives piece by piece.

use super::Generate;

/// Where the earliest stop text begins, if one is complete.
pub(crate) fn find(text: &str, generate: &Generate) -> Option<usize> {
    if !generate.any_case {
        return generate.stop.iter().filter_map(|stop| text.find(stop.as_str())).min();
    }
    let same = |a: &[u8], b: &str| a.eq_ignore_ascii_case(b.as_bytes());
    let anywhere = |stop: &String| text.as_bytes().windows(stop.len()).position(|part| same(part, stop));
    let at_the_start = |stop: &String| {
        let line = stop.strip_prefix('\n').filter(|line| !line.trim().is_empty())?;
        let start = text.len() - text.trim_start().len();
        text.as_bytes().get(start..start + line.len()).filter(|part| same(part, line)).map(|_| start)
    };
    generate.stop.iter().filter_map(|stop| at_the_start(stop).or_else(|| anywhere(stop))).min()
}

/// How many bytes of `text` can be shown: the rest may be the beginning of a stop text, or is white space that
/// would belong to one.
pub(super) fn safe_len(text: &str, generate: &Generate) -> usize {
    let ends = |beginning: &str| match text.as_bytes().split_at_checked(text.len() - beginning.len()) {
        Some((_, end)) if generate.any_case => end.eq_ignore_ascii_case(beginning.as_bytes()),
        _ => text.ends_with(beginning),
    };
    let longest =
        |stop: &str| (1..stop.len().min(text.len() + 1)).rev().find(|n| stop.is_char_boundary(*n) && ends(&stop[..*n]));
    let held = generate.stop.iter().filter_map(|stop| longest(stop)).max().unwrap_or(0);
    // The first line may be what a stop text with a line break before it begins with.
    let first = text.trim_start();
    let opening = |stop: &String| {
        let line = stop.strip_prefix('\n').filter(|line| !line.trim().is_empty())?;
        (generate.any_case && first.len() < line.len() && line[..].get(..first.len())?.eq_ignore_ascii_case(first))
            .then_some(first.len())
    };
    let held = generate.stop.iter().filter_map(opening).max().unwrap_or(0).max(held);
    text[..text.len() - held].trim_end().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_stop_is_held_back() {
        let stops = Generate { stop: vec!["[RESULT]".into(), "</s>".into()], ..Generate::default() };
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

    #[test]
    fn in_any_case_and_at_the_start_of_a_line() {
        let stops = Generate { stop: vec!["[result".into(), "\nresult".into()], any_case: true, ..Generate::default() };
        let check = |text: &str, stopped: Option<usize>, shown: &str| {
            assert_eq!((find(text, &stops), &text[..safe_len(text, &stops)]), (stopped, shown), "{text:?}");
        };
        check("fine [Result", Some(5), "fine [Result");
        check("fine\nRESULT", Some(4), "fine\nRESULT");
        check(" Result: B", Some(1), " Result: B");
        check("the result", None, "the result");
        check("fine [ReS", None, "fine");
        check("fine\nRes", None, "fine");
        check("Res", None, "");
        check("é", None, "é");
        check("", None, "");
    }
}
