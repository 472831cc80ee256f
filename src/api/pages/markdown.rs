//! Markdown as HTML.

use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd};

/// The page of the API.
pub(super) const API: &str = "/docs/openapi/";

/// The HTML of a page. Headings get ids as on GitHub; links to other pages of the documentation stay within it, and
/// links to other files of the repository become plain text.
pub(super) fn html(text: &str) -> String {
    let mut events: Vec<Event<'_>> =
        Parser::new_ext(text, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH).collect();
    let mut seen = std::collections::HashMap::new();
    for index in 0..events.len() {
        if let Event::Start(Tag::Heading { .. }) = events[index] {
            let slug = slug(&text_until(&events[index..], |end| matches!(end, TagEnd::Heading(_))));
            let count = seen.entry(slug.clone()).or_insert(0_usize);
            let unique = if *count == 0 { slug } else { format!("{slug}-{count}") };
            *count += 1;
            if let Event::Start(Tag::Heading { id, .. }) = &mut events[index] {
                *id = Some(CowStr::from(unique));
            }
        }
    }
    let mut outside = false;
    let linked = events.into_iter().filter_map(|event| match event {
        Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
            let target = target(&dest_url);
            outside = target.is_none();
            target.map(|target| Event::Start(Tag::Link { link_type, dest_url: CowStr::from(target), title, id }))
        }
        Event::End(TagEnd::Link) if outside => {
            outside = false;
            None
        }
        event => Some(event),
    });
    let mut out = String::new();
    pulldown_cmark::html::push_html(&mut out, linked);
    out
}

/// The title of a page, as plain text.
pub(super) fn title(text: &str) -> String {
    let events: Vec<Event<'_>> = Parser::new(text).collect();
    text_until(&events, |end| matches!(end, TagEnd::Heading(_)))
}

/// The plain text up to an end.
fn text_until(events: &[Event<'_>], ends: impl Fn(&TagEnd) -> bool) -> String {
    let inside = events.iter().take_while(|event| !matches!(event, Event::End(end) if ends(end)));
    let text = inside.filter_map(|event| match event {
        Event::Text(text) | Event::Code(text) => Some(text.to_string()),
        Event::SoftBreak | Event::HardBreak => Some(" ".to_owned()),
        _ => None,
    });
    text.collect()
}

/// The id of a heading: small letters and digits, with hyphens for spaces.
fn slug(text: &str) -> String {
    let kept = text.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Where a link leads from a page of the server; `None` for other files of the repository.
fn target(link: &str) -> Option<String> {
    if link.starts_with("http://") || link.starts_with("https://") || link.starts_with('#') || link == API {
        return Some(link.to_owned());
    }
    let (path, anchor) = link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
    let name = path.strip_suffix(".md").filter(|name| !name.contains('/'))?;
    Some(match anchor {
        Some(anchor) => format!("/docs/{name}#{anchor}"),
        None => format!("/docs/{name}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_have_ids_and_links_stay_inside() {
        let page = html("# One `two`!\n\n[a](b.md#c) [d](../README.md) [e](https://x.y)\n\n## One two\n\n## One two\n");
        assert!(page.contains("<h1 id=\"one-two\">"), "{page}");
        assert!(page.contains("<h2 id=\"one-two-1\">") && page.contains("<h2 id=\"one-two-2\">"), "{page}");
        assert!(page.contains("<a href=\"/docs/b#c\">a</a> d <a href=\"https://x.y\">e</a>"), "{page}");
    }

    #[test]
    fn the_title_is_the_first_heading() {
        assert_eq!(title("# A `b`\n\nFirst *one*. Second.\n\n## More"), "A b");
    }
}
