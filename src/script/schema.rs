//! Limits of JSON schemas. Schema compilers follow references and merge alternatives recursively, so the limits are
//! checked before compilation, and without recursion.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// Maximum number of bytes of names and texts.
const MOST_BYTES: usize = 256 << 10;
/// Maximum number of JSON values, including lists and objects.
const MOST_VALUES: usize = 20_000;
/// Maximum number of entries in one object, such as `properties`.
const MOST_ENTRIES: usize = 2_000;
/// Maximum nesting of lists and objects, with references resolved. A loop of references, and all that leads into it,
/// counts together.
const MOST_LEVELS: usize = 500;
/// Maximum number of `patternProperties`: for each pair, the compiler computes whether both can match.
const MOST_PATTERNS: usize = 32;
/// Maximum number of regular expressions (`pattern`, `format`, `multipleOf`) that are merged into one: each one doubles
/// the work of checking whether any text matches all of them.
const MOST_MERGED: usize = 8;
/// Maximum number of combinations of merged alternatives, times the pairs of `patternProperties`.
const MOST_COMBINED_PATTERNS: usize = 4_096;
/// Maximum number of combinations of merged alternatives, times the values of the schema.
const MOST_COMBINED_VALUES: usize = 4_000_000;

/// A schema that exceeds a limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct SchemaTooLarge {
    /// JSON pointer inside the schema.
    pub pointer: String,
    /// The limit that it exceeds.
    pub reason: String,
}

/// A list or an object of a schema.
struct Node<'a> {
    value: &'a Value,
    parent: usize,
    key: Key<'a>,
    /// Its lists and objects, and the target of its reference.
    inner: Vec<usize>,
}

#[derive(Clone, Copy)]
enum Key<'a> {
    Root,
    Name(&'a str),
    Index(usize),
}

/// Checks a schema against every limit.
///
/// # Errors
/// At the first exceeded limit.
pub(super) fn check(schema: &Value) -> Result<(), SchemaTooLarge> {
    let mut graph = Graph::read(schema)?;
    let patterns = graph.patterns()?;
    graph.follow_references()?;
    let (order, looped) = graph.inner_first();
    graph.check_levels(&order, &looped)?;
    graph.check_merges(&order, &looped, patterns)
}

struct Graph<'a> {
    nodes: Vec<Node<'a>>,
    values: usize,
}

impl<'a> Graph<'a> {
    /// All lists and objects, ordered by their distance from the root.
    fn read(schema: &'a Value) -> Result<Self, SchemaTooLarge> {
        let root = Node { value: schema, parent: 0, key: Key::Root, inner: Vec::new() };
        let mut graph = Self { nodes: vec![root], values: 1 };
        let (mut next, mut bytes) = (0, 0);
        while next < graph.nodes.len() {
            let entries: Vec<(Key<'a>, &'a Value)> = match graph.nodes[next].value {
                Value::Object(fields) if fields.len() > MOST_ENTRIES => {
                    return Err(
                        graph.refused(next, &format!("it has {} entries, and {MOST_ENTRIES} at most", fields.len()))
                    );
                }
                Value::Object(fields) => fields.iter().map(|(name, value)| (Key::Name(name), value)).collect(),
                Value::Array(items) if items.len() > MOST_VALUES => {
                    return Err(graph.refused(next, &format!("a schema has {MOST_VALUES} values at most")));
                }
                Value::Array(items) => items.iter().enumerate().map(|(at, item)| (Key::Index(at), item)).collect(),
                _ => Vec::new(),
            };
            graph.values += entries.len();
            for (key, value) in entries {
                if let Key::Name(name) = key {
                    bytes += name.len();
                }
                match value {
                    Value::String(text) => bytes += text.len(),
                    Value::Array(_) | Value::Object(_) => {
                        let child = graph.nodes.len();
                        graph.nodes.push(Node { value, parent: next, key, inner: Vec::new() });
                        graph.nodes[next].inner.push(child);
                    }
                    _ => {}
                }
            }
            if graph.values > MOST_VALUES {
                return Err(graph.refused(next, &format!("a schema has {MOST_VALUES} values at most")));
            }
            if bytes > MOST_BYTES {
                let reason = format!("the names and texts of a schema have {MOST_BYTES} bytes at most");
                return Err(graph.refused(next, &reason));
            }
            next += 1;
        }
        Ok(graph)
    }

    fn fields(&self, node: usize) -> Option<&'a Map<String, Value>> {
        self.nodes[node].value.as_object()
    }

    /// The number of pairs of `patternProperties`.
    fn patterns(&self) -> Result<usize, SchemaTooLarge> {
        let mut patterns = 0;
        for node in 0..self.nodes.len() {
            let own = self.fields(node).and_then(|fields| fields.get("patternProperties")?.as_object());
            patterns += own.map_or(0, Map::len);
            if patterns > MOST_PATTERNS {
                let reason = format!("a schema has {MOST_PATTERNS} patternProperties at most");
                return Err(self.refused(node, &reason));
            }
        }
        Ok(patterns * patterns.saturating_sub(1) / 2)
    }

    fn follow_references(&mut self) -> Result<(), SchemaTooLarge> {
        let places: HashMap<*const Value, usize> =
            self.nodes.iter().enumerate().map(|(place, node)| (std::ptr::from_ref(node.value), place)).collect();
        for node in 0..self.nodes.len() {
            let reference = self.fields(node).and_then(|fields| fields.get("$ref")?.as_str());
            let Some(path) = reference.and_then(|reference| reference.strip_prefix('#')) else { continue };
            let target = self.target(node, path)?;
            let target = target.and_then(|value| places.get(&std::ptr::from_ref(value)).copied());
            self.nodes[node].inner.extend(target);
        }
        Ok(())
    }

    /// Resolves a reference as the compiler does. The compiler refuses references without a target.
    fn target(&self, node: usize, path: &str) -> Result<Option<&'a Value>, SchemaTooLarge> {
        let mut value = self.nodes[0].value;
        if path.is_empty() || path == "/" {
            return Ok(Some(value));
        }
        let Some(path) = path.strip_prefix('/') else { return Ok(None) };
        for segment in path.split('/') {
            let next = match value {
                Value::Array(items) => {
                    let index = segment.parse::<usize>().ok();
                    // The compiler treats `00` and `0` as different, and would read one value repeatedly.
                    if index.is_some_and(|index| index.to_string() != segment) {
                        return Err(
                            self.refused(node, &format!("`{segment}` in its $ref is not how an index is written"))
                        );
                    }
                    index.and_then(|index| items.get(index))
                }
                other => other.get(segment),
            };
            let Some(next) = next else { return Ok(None) };
            value = next;
        }
        Ok(Some(value))
    }

    /// All nodes in post-order, and those that lead into loops and have no order.
    fn inner_first(&self) -> (Vec<usize>, Vec<usize>) {
        let mut around = vec![Vec::new(); self.nodes.len()];
        let mut missing: Vec<usize> = self.nodes.iter().map(|node| node.inner.len()).collect();
        for (place, node) in self.nodes.iter().enumerate() {
            node.inner.iter().for_each(|inner| around[*inner].push(place));
        }
        let mut order: Vec<usize> = (0..self.nodes.len()).filter(|place| missing[*place] == 0).collect();
        let mut next = 0;
        while next < order.len() {
            for outer in &around[order[next]] {
                missing[*outer] -= 1;
                if missing[*outer] == 0 {
                    order.push(*outer);
                }
            }
            next += 1;
        }
        let looped = (0..self.nodes.len()).filter(|place| missing[*place] > 0).collect();
        (order, looped)
    }

    fn check_levels(&self, order: &[usize], looped: &[usize]) -> Result<(), SchemaTooLarge> {
        let mut levels = vec![0_usize; self.nodes.len()];
        for place in order {
            levels[*place] = 1 + self.nodes[*place].inner.iter().map(|inner| levels[*inner]).max().unwrap_or(0);
        }
        let reason = format!("with its references followed, a schema is {MOST_LEVELS} levels deep at most");
        if looped.len() + levels.iter().max().copied().unwrap_or(0) <= MOST_LEVELS {
            return Ok(());
        }
        if !looped.is_empty() {
            return Err(self.refused(looped[0], &format!("{reason}; all that leads into a loop counts together")));
        }
        // The node at which the longest path from the root exceeds the limit.
        let deeper = |place: usize| self.nodes[place].inner.iter().copied().max_by_key(|inner| levels[*inner]);
        let place = (0..MOST_LEVELS).try_fold(0, |place, _| deeper(place));
        Err(self.refused(place.unwrap_or(0), &reason))
    }

    /// Limits the number of combinations of merged alternatives (two lists of ten give a hundred), and of merged
    /// regular expressions.
    fn check_merges(&self, order: &[usize], looped: &[usize], pairs: usize) -> Result<(), SchemaTooLarge> {
        let (mut choices, mut merged) = (vec![1_usize; self.nodes.len()], vec![0_usize; self.nodes.len()]);
        let mut settle = |place: usize| {
            let now = (self.choices(place, &choices), self.merged(place, &merged));
            let changed = now != (choices[place], merged[place]);
            (choices[place], merged[place]) = now;
            self.check_place(place, now, pairs).map(|()| changed)
        };
        for place in order {
            settle(*place)?;
        }
        // In a loop each pass carries what was found one reference further; more passes than places change nothing, or
        // would change it for ever.
        for _ in 0..=looped.len() {
            let mut changed = false;
            for place in looped.iter().rev() {
                changed |= settle(*place)?;
            }
            if !changed {
                return Ok(());
            }
        }
        let place = looped.first().copied().unwrap_or(0);
        Err(self.refused(place, "its references lead in circles through alternatives that are to be merged"))
    }

    fn check_place(&self, place: usize, (choices, merged): (usize, usize), pairs: usize) -> Result<(), SchemaTooLarge> {
        if merged > MOST_MERGED {
            let reason =
                format!("{merged} of pattern, format and multipleOf may be merged here, and {MOST_MERGED} at most");
            return Err(self.refused(place, &reason));
        }
        // Values of an `enum` are usually merged with their type only.
        let listed = |place: usize| matches!(self.nodes[place].key, Key::Name("enum"));
        let alone = listed(place) || matches!(self.nodes[place].inner[..], [only] if listed(only));
        if choices.saturating_mul(pairs) > MOST_COMBINED_PATTERNS
            || !alone && choices > 1 && choices.saturating_mul(self.values) > MOST_COMBINED_VALUES
        {
            let reason = format!(
                "its alternatives can be combined in {choices} ways, too many for a schema of {} values; use fewer of \
                 anyOf, oneOf, allOf and patternProperties",
                self.values
            );
            return Err(self.refused(place, &reason));
        }
        Ok(())
    }

    /// Whether a child describes the same value as its parent, as a reference and `allOf` do.
    fn in_place(&self, place: usize, inner: usize) -> bool {
        let node = &self.nodes[inner];
        let listed = matches!(node.key, Key::Name("allOf" | "anyOf" | "oneOf" | "enum"));
        node.parent != place || (listed && node.value.is_array())
    }

    /// Maximum number of regular expressions that apply to one value: those of an object and of its in-place children,
    /// or those of the values inside.
    fn merged(&self, place: usize, merged: &[usize]) -> usize {
        let node = &self.nodes[place];
        let of = |inner: &usize| merged[*inner];
        let Some(fields) = node.value.as_object() else {
            let all = matches!(node.key, Key::Name("allOf"));
            let inner = node.inner.iter().map(of);
            return if all { inner.fold(0, usize::saturating_add) } else { inner.max().unwrap_or(0) };
        };
        let own = ["pattern", "format"].iter().filter(|name| fields.get(**name).is_some_and(Value::is_string)).count()
            + usize::from(fields.get("multipleOf").is_some_and(Value::is_number));
        let (in_place, inside): (Vec<usize>, Vec<usize>) =
            node.inner.iter().partition(|inner| self.in_place(place, **inner));
        // A property may match by name and by pattern.
        let by_pattern = |inner: &&usize| matches!(self.nodes[**inner].key, Key::Name("patternProperties"));
        let twice = inside.iter().filter(by_pattern).map(of).max().unwrap_or(0);
        let deepest = inside.iter().map(of).max().unwrap_or(0).max(own);
        in_place.iter().map(of).fold(deepest.saturating_add(twice), usize::saturating_add)
    }

    /// The number of combinations of an object's in-place children; for a list, the number of its alternatives.
    fn choices(&self, place: usize, choices: &[usize]) -> usize {
        let node = &self.nodes[place];
        let inner = || node.inner.iter().map(|inner| choices[*inner]);
        match (&node.value, node.key) {
            (Value::Array(_), Key::Name("allOf")) => inner().fold(1, usize::saturating_mul),
            (Value::Array(items), Key::Name("anyOf" | "oneOf")) => {
                // Entries that are not objects count as one each.
                let plain = items.len() - node.inner.len();
                inner().fold(plain, usize::saturating_add).max(1)
            }
            (Value::Array(items), Key::Name("enum")) => items.len().max(1),
            (Value::Object(_), _) => {
                let in_place = |inner: &&usize| self.in_place(place, **inner);
                node.inner.iter().filter(in_place).map(|inner| choices[*inner]).fold(1, usize::saturating_mul)
            }
            _ => 1,
        }
    }

    fn refused(&self, place: usize, reason: &str) -> SchemaTooLarge {
        let mut keys = Vec::new();
        let mut at = place;
        loop {
            match self.nodes[at].key {
                Key::Root => break,
                Key::Name(name) => keys.push(name.replace('~', "~0").replace('/', "~1")),
                Key::Index(index) => keys.push(index.to_string()),
            }
            at = self.nodes[at].parent;
        }
        let pointer = keys.iter().rev().map(|key| format!("/{key}")).collect();
        SchemaTooLarge { pointer, reason: format!("the schema is too large: {reason}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn numbered(count: usize, entry: impl Fn(usize) -> Value) -> Value {
        (0..count).map(|number| (format!("a{number}"), entry(number))).collect::<Map<_, _>>().into()
    }

    fn chain(links: usize, link: fn(String) -> Value) -> Value {
        json!({"$ref": "#/$defs/a0", "$defs": numbered(links, |at| link(format!("#/$defs/a{}", (at + 1) % links)))})
    }

    fn refused(schema: &Value, pointer: &str, word: &str) {
        let error = check(schema).unwrap_err();
        assert_eq!(error.pointer, pointer, "{error}");
        assert!(error.reason.contains(word), "{error}");
    }

    #[test]
    fn schemas_of_every_day_are_small_enough() {
        let tree = json!({"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "properties": {
            "value": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}}}}});
        let fields = numbered(300, |_| json!({"anyOf": [{"type": "string"}, {"type": "null"}]}));
        let variants: Vec<Value> = (0..60).map(|at| json!({"$ref": format!("#/$defs/a{at}")})).collect();
        let union = json!({"anyOf": variants, "$defs": numbered(60, |_| json!({"type": "object", "properties": {
            "kind": {"const": "x"}, "next": {"$ref": "#"}}}))});
        let patterns = json!({"patternProperties": {"^a": {"type": "integer"}, "^b": {"type": "string"}}});
        let dated = json!({"properties": numbered(90, |_| json!({"type": "string", "format": "date"}))});
        let parts = json!({"allOf": vec![json!({"$ref": "#/$defs/dated"}); 7], "$defs": {"dated": dated}});
        let listed = json!({"type": "string", "enum": (0..9_000).map(|at| at.to_string()).collect::<Vec<_>>()});
        for schema in [
            tree,
            json!({"properties": fields}),
            union,
            listed,
            parts,
            patterns,
            json!(true),
            json!({"$ref": "#/none"}),
        ] {
            check(&schema).unwrap();
        }
    }

    #[test]
    fn each_limit_names_its_place() {
        refused(&chain(600, |to| json!({"items": {"$ref": to}})), "", "500 levels");
        let mut open = chain(600, |to| json!({"$ref": to}));
        open["$defs"]["a599"] = json!({"type": "integer"});
        refused(&open, "/$defs/a498", "500 levels");
        refused(&json!({"a/b": {"properties": numbered(2001, |_| json!({}))}}), "/a~1b/properties", "2001 entries");
        refused(&json!({"enum": vec![0; 20_001]}), "/enum", "20000 values");
        refused(&json!({"title": "x".repeat(300_000)}), "", "262144 bytes");
        refused(&json!({"items": {"patternProperties": numbered(33, |_| json!({}))}}), "/items", "32 pattern");
        refused(&json!({"$defs": [{}], "items": {"$ref": "#/$defs/00"}}), "/items", "`00`");
        let ten = json!({"anyOf": vec![json!({"type": "object"}); 10]});
        refused(&json!({"allOf": vec![ten.clone(); 7]}), "/allOf", "10000000 ways");
        let named = json!({"allOf": vec![json!({"$ref": "#/$defs/ten"}); 7], "$defs": {"ten": ten}});
        refused(&named, "/allOf", "ways");
        let nine = |entry: fn(usize) -> Value| json!({"items": {"allOf": (0..9).map(entry).collect::<Vec<_>>()}});
        refused(&nine(|at| json!({"pattern": at.to_string()})), "/items/allOf", "9 of pattern");
        let inside = nine(|_| json!({"properties": {"a": {"items": {"format": "date"}}}}));
        refused(&inside, "/items/allOf", "9 of pattern");
        let mut looped = numbered(9, |at| json!({"pattern": "a", "allOf": [{"$ref": format!("#/$defs/a{}", at + 1)}]}));
        looped["a9"] = json!({"items": {"$ref": "#/$defs/a0"}, "pattern": "a"});
        let error = check(&json!({"$defs": looped})).unwrap_err();
        assert!(error.reason.contains("of pattern"), "{error}");
        let pairs = json!({"patternProperties": numbered(32, |_| json!({})), "anyOf": vec![json!({}); 20]});
        refused(&pairs, "/anyOf", "20 ways");
    }

    #[test]
    fn what_is_nested_without_end_is_refused_and_ends_nothing() {
        let mut deep = json!({});
        for _ in 0..3000 {
            deep = Value::Array(vec![deep]);
        }
        refused(&deep, &"/0".repeat(500), "500 levels");
        // Dropping a value is recursive, too, so this one is taken apart first.
        while let Value::Array(mut inner) = deep {
            deep = inner.pop().unwrap_or_default();
        }
    }

    proptest! {
        /// With any references, the check terminates and does not panic.
        #[test]
        fn any_references(links in proptest::collection::vec((0usize..12, 0usize..12), 0..40)) {
            let defs = numbered(12, |at| {
                let own = links.iter().filter(|(from, _)| *from == at);
                let to: Vec<Value> = own.map(|(_, to)| json!({"$ref": format!("#/$defs/a{to}")})).collect();
                json!({"allOf": to})
            });
            let _ = check(&json!({"$defs": defs, "$ref": "#/$defs/a0"}));
        }
    }
}
