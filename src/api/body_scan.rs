//! Counts what a JSON body holds before anything is built of it: each value takes many times its own bytes once it is
//! parsed. Invalid JSON is left to the parser.

use std::ops::Range;

use super::problem::{Code, Problem};

/// Maximum number of JSON values in a body. 128 prompts of 8192 token ids have half as many.
const MOST_VALUES: usize = 2 << 20;
/// Maximum number of entries of one list, without numbers such as token ids, and of fields of one object. The lists of
/// items of a bulk request have `limits.items`.
const MOST_ENTRIES: usize = 10_000;
/// Maximum number of elements of a request: objects, and the texts and lists in lists. The largest request for
/// decisions, 400 questions with 255 answers each, has less.
const MOST_ELEMENTS: usize = 120_000;
/// The same of a bulk request, for each item that it may have, if that is more.
const ELEMENTS_FOR_AN_ITEM: usize = 20;
/// Lists and objects that are nested deeper are not looked into: no parser builds them.
const DEEPEST: usize = 256;

/// An open list or object.
struct Open {
    list: bool,
    /// The number of entries so far, the present one included.
    entries: usize,
    /// Those of a list that are no numbers.
    elements: usize,
    /// The last text in it: where an object holds a list or an object, the name of the field.
    name: Range<usize>,
}

/// What was counted so far.
struct Scan<'a> {
    body: &'a [u8],
    /// The maximum number of entries of a top-level list, for bulk routes; each entry is an item.
    items: Option<usize>,
    open: Vec<Open>,
    depth: usize,
    values: usize,
    elements: usize,
}

/// Checks the number of values, of elements, and of entries of top-level lists (`items`, for bulk routes).
///
/// # Errors
/// `payload_too_large`, at the longest list or object that is open there.
pub(super) fn scan(body: &[u8], items: Option<usize>) -> Result<(), Problem> {
    // An entry takes at least two bytes, with its comma; most bodies are too short to reach any limit.
    if body.len() / 2 <= items.unwrap_or(MOST_ENTRIES).min(MOST_ENTRIES) {
        return Ok(());
    }
    let mut scan = Scan { body, items, open: Vec::new(), depth: 0, values: 1, elements: 0 };
    let mut at = 0;
    while let Some(byte) = body.get(at) {
        match byte {
            b'"' => {
                let begin = at;
                at += 1;
                while body.get(at).is_some_and(|byte| *byte != b'"') {
                    at += if body[at] == b'\\' { 2 } else { 1 };
                }
                scan.text(begin..at + 1)?;
            }
            b'{' | b'[' => scan.begin(*byte == b'[')?,
            b'}' | b']' => scan.end(),
            b',' => scan.next()?,
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

impl Scan<'_> {
    /// The list or object that the next value is in, unless it is too deep to matter.
    fn innermost(&mut self) -> Option<&mut Open> {
        if self.depth > self.open.len() { None } else { self.open.last_mut() }
    }

    fn text(&mut self, place: Range<usize>) -> Result<(), Problem> {
        let Some(inside) = self.innermost() else { return Ok(()) };
        inside.name = place;
        if inside.list { self.element() } else { Ok(()) }
    }

    fn begin(&mut self, list: bool) -> Result<(), Problem> {
        self.value()?;
        if !list || self.innermost().is_some_and(|inside| inside.list) {
            self.element()?;
        }
        self.depth += 1;
        if self.depth <= DEEPEST {
            self.open.push(Open { list, entries: 1, elements: 0, name: 0..0 });
        }
        Ok(())
    }

    fn end(&mut self) {
        if self.depth <= self.open.len() {
            self.open.pop();
        }
        self.depth = self.depth.saturating_sub(1);
    }

    /// A comma.
    fn next(&mut self) -> Result<(), Problem> {
        self.value()?;
        let (depth, items) = (self.depth, self.items);
        let Some(inside) = self.innermost() else { return Ok(()) };
        inside.entries += 1;
        match items {
            Some(most) if depth == 2 && inside.list && inside.entries > most => {
                let detail = format!("the list has more than {most} entries; send several requests");
                return Err(self.too_large(detail, depth));
            }
            _ if !inside.list && inside.entries > MOST_ENTRIES => {
                let detail = format!("the object has more than {MOST_ENTRIES} fields, the maximum");
                return Err(self.too_large(detail, depth));
            }
            _ => {}
        }
        Ok(())
    }

    fn value(&mut self) -> Result<(), Problem> {
        self.values += 1;
        if self.values > MOST_VALUES {
            let detail = format!("the body has more than {MOST_VALUES} JSON values; send several requests");
            return Err(Problem::new(Code::PayloadTooLarge, detail));
        }
        Ok(())
    }

    /// An object, or a text or list in a list.
    fn element(&mut self) -> Result<(), Problem> {
        self.elements += 1;
        let (depth, bulk) = (self.depth, self.items.is_some());
        let Some(inside) = self.innermost() else { return Ok(()) };
        inside.elements += usize::from(inside.list);
        if inside.elements > MOST_ENTRIES && !(bulk && depth == 2) {
            let detail = format!("the list has more than {MOST_ENTRIES} entries; shorten it or send several requests");
            return Err(self.too_large(detail, depth));
        }
        let most = self.items.map_or(0, |items| items.saturating_mul(ELEMENTS_FOR_AN_ITEM)).max(MOST_ELEMENTS);
        if self.elements <= most {
            return Ok(());
        }
        let detail = format!(
            "the lists of the request have more than {most} entries together; shorten this one or send several requests"
        );
        // The longest of those that are open, and of equal ones the outermost.
        let longest = (0..self.open.len()).rev().max_by_key(|at| self.open[*at].entries);
        Err(self.too_large(detail, longest.map_or(0, |at| at + 1)))
    }

    /// The problem at the list or object that is the last of the first `depth`.
    fn too_large(&self, detail: String, depth: usize) -> Problem {
        let steps = self.open.iter().take(depth.saturating_sub(1)).map(|open| {
            if open.list {
                return format!("/{}", open.entries - 1);
            }
            let name = self.body.get(open.name.clone()).and_then(|name| serde_json::from_slice::<String>(name).ok());
            format!("/{}", escaped(&name.unwrap_or_default()))
        });
        Problem::new(Code::PayloadTooLarge, detail).at(steps.collect::<String>())
    }
}

/// A name as a part of a JSON pointer.
pub(super) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused_at(body: &str, items: Option<usize>) -> Option<String> {
        let problem = scan(body.as_bytes(), items).err()?;
        assert_eq!(problem.code(), Code::PayloadTooLarge);
        Some(problem.body("", "").pointer.unwrap_or_default())
    }

    #[test]
    fn entries_of_bulk_lists_are_counted() {
        let check = |body: &str, expected: Option<&str>| {
            assert_eq!(refused_at(body, Some(3)).as_deref(), expected, "{body}");
        };
        check("{\"items\": [1, 2, 3], \"more\": [[], [], {}]}", None);
        check("{\"items\": [1, 2, 3, 4]}", Some("/items"));
        check("{\"x\": {\"a\": 1, \"b\": 2, \"c\": 3, \"d\": [1, 2, 3, 4]}}", None);
        check("{\"x\": [[1, 2, 3, 4], \",,,,\", \"\\\",,,\"]}", None);
        check("{\"a/\\u0062\": [{\"a\": 1}, {\"b\": 2}, {\"c\": 3}, 4]}", Some("/a~1b"));
        check("[1, 2, 3, 4]", None);
        check("\"[[[\\", None);
        check("]]]]{[", None);
        let zeros = format!("[{}0]", "0,".repeat(MOST_VALUES));
        assert_eq!(scan(zeros.as_bytes(), None).unwrap_err().code(), Code::PayloadTooLarge);
    }

    #[test]
    fn entries_of_every_list_are_counted() {
        let list = |entry: &str, count: usize| format!("[{}]", vec![entry; count].join(","));
        let many = |entry: &str| list(entry, MOST_ENTRIES + 1);
        let check = |body: String, items: Option<usize>, expected: Option<&str>| {
            assert_eq!(refused_at(&body, items).as_deref(), expected, "{}…", &body[..body.len().min(80)]);
        };
        let message = "{\"role\": \"user\", \"content\": \"a, [b]\"}";
        check(format!("{{\"messages\": {}}}", list(message, MOST_ENTRIES)), None, None);
        check(format!("{{\"n\": 1, \"messages\": {}}}", many(message)), None, Some("/messages"));
        check(format!("{{\"context\": {}}}", many("\"a\"")), None, Some("/context"));
        check(format!("{{\"prompt\": [{}]}}", many("1")), None, None);
        check(format!("{{\"x\": {}}}", many("[]")), None, Some("/x"));
        // Together, and each far too few alone: the longest one is named.
        let parts = format!("{{\"content\": {}}}", list("{\"type\": \"text\"}", 20));
        check(format!("{{\"messages\": {}}}", list(&parts, 5_000)), None, None);
        check(format!("{{\"messages\": {}}}", list(&parts, 6_000)), None, Some("/messages"));
        check(format!("{{\"items\": {}}}", list(&parts, 6_000)), Some(10_000), None);
        check(format!("{{\"items\": {}}}", list(&parts, 10_000)), Some(10_000), Some("/items"));
        let item = format!("{{\"id\": [], \"messages\": {}}}", many(message));
        check(format!("{{\"items\": [{{}}, {item}]}}"), Some(10), Some("/items/1/messages"));
        check(format!("{{\"items\": {}}}", many("{}")), Some(20_000), None);
        check(format!("{{\"items\": {}}}", many("{}")), None, Some("/items"));
        let fields: Vec<String> = (0..=MOST_ENTRIES).map(|at| format!("\"f{at}\": \"a\"")).collect();
        check(format!("{{\"item\": {{{}}}}}", fields.join(",")), None, Some("/item"));
        // What is nested too deep is not built.
        check(format!("{{\"x\": {}{}", "[".repeat(300), many("\"a\"")), None, None);
        check(format!("{{\"x\": {}{}, \"y\": {}}}", "[".repeat(300), "]".repeat(300), many("\"\"")), None, Some("/y"));
    }
}
