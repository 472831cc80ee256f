//! Finding stop texts in text that arrives piece by piece.

use super::Generate;

/// Where the earliest stop text begins, if one is complete.
pub(crate) fn find(text: &str, generate: &Generate) -> Option<usize> {
    let as_they_stand = |stops: &[String]| stops.iter().filter_map(|stop| text.find(stop.as_str())).min();
    let exact = as_they_stand(&generate.exact);
    if !generate.any_case {
        return as_they_stand(&generate.stop).into_iter().chain(exact).min();
    }
    let same = |a: &[u8], b: &str| a.eq_ignore_ascii_case(b.as_bytes());
    let anywhere = |stop: &String| text.as_bytes().windows(stop.len()).position(|part| same(part, stop));
    let at_the_start = |stop: &String| {
        let line = stop.strip_prefix('\n').filter(|line| !line.trim().is_empty())?;
        let start = text.len() - text.trim_start().len();
        text.as_bytes().get(start..start + line.len()).filter(|part| same(part, line)).map(|_| start)
    };
    generate.stop.iter().filter_map(|stop| at_the_start(stop).or_else(|| anywhere(stop))).chain(exact).min()
}

/// How many bytes of `text` can be shown: the rest may be the beginning of a stop text, or is white space that
/// would belong to one.
pub(super) fn safe_len(text: &str, generate: &Generate) -> usize {
    let ends = |beginning: &str, any_case: bool| match text.as_bytes().split_at_checked(text.len() - beginning.len()) {
        Some((_, end)) if any_case => end.eq_ignore_ascii_case(beginning.as_bytes()),
        _ => text.ends_with(beginning),
    };
    let longest = |stop: &str, any_case: bool| {
        let mut lengths = (1..stop.len().min(text.len() + 1)).rev();
        lengths.find(|n| stop.is_char_boundary(*n) && ends(&stop[..*n], any_case))
    };
    let held = generate.stop.iter().filter_map(|stop| longest(stop, generate.any_case));
    let held = held.chain(generate.exact.iter().filter_map(|stop| longest(stop, false))).max().unwrap_or(0);
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

    #[test]
    fn some_in_any_case_and_others_as_they_stand() {
        let exact = vec!["So".into(), "\nThus".into()];
        let stops = Generate { stop: vec!["[RESULT]".into()], exact, any_case: true, ..Generate::default() };
        let check = |text: &str, stopped: Option<usize>, shown: &str| {
            assert_eq!((find(text, &stops), &text[..safe_len(text, &stops)]), (stopped, shown), "{text:?}");
        };
        check("also [result]", Some(5), "also [result]");
        check("So be it", Some(0), "So be it");
        check("it is S", None, "it is");
        check("it is s", None, "it is s");
        check("Thus", None, "Thus");
        check("a\nThus", Some(1), "a\nThus");
    }
}
