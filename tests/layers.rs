//! The layers of the crate: which room (top-level module) may use which, and no import circles between files, checked
//! against the paths that the source uses. docs/architecture.md has the picture.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use syn::visit::Visit;
use syn::{Attribute, Item, UseTree, Visibility};

/// What each room may use. Rooms below never use rooms above.
const ROOMS: &[(&str, &[&str])] = &[
    (
        "cli",
        &[
            "annotators",
            "api",
            "app",
            "config",
            "domain",
            "engine",
            "facade",
            "json_text",
            "keys",
            "labelled",
            "metrics",
            "models",
            "prompts",
            "routers",
            "rubrics",
            "service",
            "telemetry",
        ],
    ),
    (
        "api",
        &[
            "annotators",
            "app",
            "config",
            "domain",
            "engine",
            "example_sets",
            "graders",
            "jobs",
            "json_text",
            "keys",
            "pictures",
            "prompts",
            "reports",
            "routers",
            "rubrics",
            "script",
            "service",
            "store",
            "tasks",
            "telemetry",
            "usage_log",
            "verdict_log",
        ],
    ),
    (
        "facade",
        &[
            "app", "config", "domain", "engine", "metrics", "models", "pictures", "prompts", "rubrics", "service",
            "tasks",
        ],
    ),
    (
        "app",
        &[
            "annotators",
            "config",
            "domain",
            "engine",
            "example_sets",
            "jobs",
            "keys",
            "label_sets",
            "metrics",
            "models",
            "prompts",
            "reports",
            "routers",
            "rubrics",
            "service",
            "store",
            "tasks",
            "usage_log",
            "verdict_log",
        ],
    ),
    (
        "service",
        &[
            "calibrations",
            "config",
            "domain",
            "engine",
            "metrics",
            "models",
            "pictures",
            "prompts",
            "routers",
            "rubrics",
            "script",
            "store",
            "tasks",
            "telemetry",
        ],
    ),
    ("routers", &["config", "domain"]),
    ("jobs", &["config", "metrics", "store"]),
    ("usage_log", &["keys", "store"]),
    ("verdict_log", &["config", "metrics", "store"]),
    ("store", &[]),
    ("metrics", &["domain", "engine", "tasks"]),
    ("telemetry", &["config"]),
    ("config", &["domain", "models", "pictures", "tasks"]),
    ("engine", &["domain", "models", "pictures", "prompts", "script"]),
    ("models", &["domain", "prompts"]),
    ("tasks", &["domain", "prompts", "script"]),
    ("rubrics", &["calibrations", "domain"]),
    ("annotators", &["domain"]),
    ("reports", &["domain"]),
    ("calibrations", &["domain"]),
    ("prompts", &["domain", "pictures", "script"]),
    ("script", &["domain", "pictures"]),
    ("keys", &["domain"]),
    ("example_sets", &["domain"]),
    ("label_sets", &["domain"]),
    ("labelled", &["domain", "json_text"]),
    ("graders", &[]),
    ("json_text", &[]),
    ("domain", &["pictures"]),
    ("pictures", &[]),
];

/// Crates that only these rooms may use: their files, by the beginning of their paths.
const CRATES: &[(&str, &[&str])] = &[
    ("actix_web", &["api", "cli"]),
    ("utoipa", &["api"]),
    ("utoipa_swagger_ui", &["api"]),
    ("llama_cpp_2", &["engine/llama_cpp"]),
    ("mistralrs", &["engine/mistralrs"]),
    ("candle_core", &["engine/mistralrs"]),
    ("sqlx", &["store"]),
    ("image", &["pictures"]),
    ("tokenizers", &["engine/vocabulary"]),
];

/// Rooms that are pure: no I/O, no runtime, no web framework.
const PURE: &[&str] = &["domain", "pictures", "tasks", "prompts", "script", "graders", "json_text"];

type Module = Vec<String>;

/// The source files of the crate, without those of tests, which use what they like.
fn source_files() -> Vec<(Module, syn::File)> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut files, mut folders) = (Vec::new(), vec![source.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let module = path.strip_prefix(&source).unwrap().with_extension("");
                let module: Module = module.iter().map(|part| part.to_string_lossy().into_owned()).collect();
                let text = std::fs::read_to_string(&path).unwrap();
                let file = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                let of_tests = |part: &str| part == "tests" || part.ends_with("_tests");
                if !module.iter().any(|part| of_tests(part)) && module != ["main"] {
                    files.push((module, file));
                }
            }
        }
    }
    files
}

/// The modules of the crate, and what each uses.
struct ModuleGraph {
    /// Every file, with the modules that it uses and the other crates.
    files: BTreeMap<Module, Uses>,
}

#[derive(Default)]
struct Uses {
    paths: Vec<Vec<String>>,
    /// Re-exported names, with the paths that they stand for.
    re_exports: BTreeMap<String, Vec<String>>,
}

impl ModuleGraph {
    fn read() -> Self {
        let files = source_files().into_iter().map(|(module, file)| {
            let mut uses = Uses::default();
            uses.visit_file(&file);
            (if module == ["lib"] { Vec::new() } else { module }, uses)
        });
        Self { files: files.collect() }
    }

    /// The file that a path in `from` refers to, through the re-exports of other files.
    fn resolve(&self, from: &[String], path: &[String]) -> Option<Module> {
        let mut at = match path.first()?.as_str() {
            "crate" => path[1..].to_vec(),
            "self" => [from, &path[1..]].concat(),
            "super" => {
                let ups = path.iter().take_while(|part| *part == "super").count();
                [&from[..from.len().checked_sub(ups)?], &path[ups..]].concat()
            }
            first if self.files.contains_key(&[from, &[first.to_owned()]].concat()) => [from, path].concat(),
            _ => return None,
        };
        // A re-export may lead to another re-export.
        for _ in 0..8 {
            let known = (0..=at.len()).rev().find(|len| self.files.contains_key(&at[..*len]))?;
            let (module, rest) = (at[..known].to_vec(), at[known..].to_vec());
            let origin = rest.first().and_then(|name| self.files[&module].re_exports.get(name));
            match origin.filter(|origin| origin.as_slice() != path) {
                Some(origin) => match self.resolve(&module, origin) {
                    Some(target) if target != module => at = target,
                    _ => return Some(module),
                },
                None => return Some(module),
            }
        }
        Some(at)
    }

    /// Which files each file uses.
    fn edges(&self) -> BTreeMap<&Module, BTreeSet<Module>> {
        let of = |(file, uses): (&'_ Module, &Uses)| {
            let targets = uses.paths.iter().filter_map(|path| self.resolve(file, path));
            targets.filter(|target| target != file && !target.is_empty()).collect()
        };
        self.files.iter().map(|(file, uses)| (file, of((file, uses)))).collect()
    }
}

fn only_in_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|condition| condition.is_ident("test"))
    })
}

fn leaves(tree: &UseTree, before: &[String], found: &mut Vec<(Vec<String>, String)>) {
    let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
    match tree {
        UseTree::Path(path) => leaves(&path.tree, &with(&path.ident), found),
        UseTree::Name(name) if name.ident == "self" => {
            found.push((before.to_vec(), before.last().cloned().unwrap_or_default()))
        }
        UseTree::Name(name) => found.push((with(&name.ident), name.ident.to_string())),
        UseTree::Rename(rename) => found.push((with(&rename.ident), rename.rename.to_string())),
        UseTree::Glob(_) => found.push((before.to_vec(), String::new())),
        UseTree::Group(group) => group.items.iter().for_each(|tree| leaves(tree, before, found)),
    }
}

impl<'ast> Visit<'ast> for Uses {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Mod(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            _ => &Vec::new(),
        };
        if !only_in_tests(attributes) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let mut found = Vec::new();
        leaves(&item.tree, &[], &mut found);
        match item.vis {
            Visibility::Inherited => self.paths.extend(found.into_iter().map(|(path, _)| path)),
            _ => self.re_exports.extend(found.into_iter().map(|(path, name)| (name, path))),
        }
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if attribute.path().is_ident("derive") {
            // What is not a list of paths is the compiler's to refuse.
            let _ = attribute.parse_nested_meta(|derived| {
                let segments = &derived.path.segments;
                if segments.len() > 1 {
                    self.paths.push(segments.iter().map(|segment| segment.ident.to_string()).collect());
                }
                Ok(())
            });
        }
    }

    // Who may see something is no use of it.
    fn visit_visibility(&mut self, _visibility: &'ast Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            self.paths.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        }
        syn::visit::visit_path(self, path);
    }
}

#[test]
fn rooms_use_only_what_lies_below_them() {
    let (graph, allowed) = (ModuleGraph::read(), BTreeMap::from_iter(ROOMS.iter().copied()));
    let mut wrong = Vec::new();
    for (file, targets) in graph.edges() {
        let Some(room) = file.first() else { continue };
        let Some(below) = allowed.get(room.as_str()) else {
            wrong.push(format!("{room} is no room of the list"));
            continue;
        };
        let others = targets.iter().filter(|target| target[0] != *room && !below.contains(&target[0].as_str()));
        wrong.extend(others.map(|target| format!("{} uses {}", file.join("/"), target.join("/"))));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let level = |room: &str| ROOMS.iter().position(|(name, _)| *name == room).unwrap();
    for (room, below) in ROOMS {
        for other in *below {
            assert!(level(other) > level(room), "{room} stands below {other} in the list, and may use it");
        }
    }
}

#[test]
fn no_files_use_one_another_in_a_circle() {
    let graph = ModuleGraph::read();
    let edges = graph.edges();
    let reached = |from: &Module| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(file) = next.pop() {
            let new: Vec<&Module> = edges[file].iter().filter(|target| seen.insert(*target)).collect();
            next.extend(new);
        }
        seen
    };
    let reachable: BTreeMap<&Module, BTreeSet<&Module>> = edges.keys().map(|file| (*file, reached(file))).collect();
    let circles: BTreeSet<Vec<String>> = reachable
        .iter()
        .map(|(file, seen)| seen.iter().filter(|other| reachable[**other].contains(file)))
        .map(|circle| circle.map(|file| file.join("/")).collect::<Vec<_>>())
        .filter(|circle| !circle.is_empty())
        .collect();
    let lines: Vec<String> = circles.iter().map(|circle| circle.join(", ")).collect();
    assert!(lines.is_empty(), "these use one another:\n{}", lines.join("\n"));
}

#[test]
fn crates_are_used_where_they_belong() {
    let mut wrong = Vec::new();
    for (file, uses) in ModuleGraph::read().files {
        let name = file.join("/");
        let in_one = |rooms: &[&str]| rooms.iter().any(|room| name == *room || name.starts_with(&format!("{room}/")));
        let crates: BTreeSet<&str> =
            uses.paths.iter().chain(uses.re_exports.values()).map(|path| path[0].as_str()).collect();
        for (krate, rooms) in CRATES.iter().filter(|(krate, _)| crates.contains(krate)) {
            if !in_one(rooms) {
                wrong.push(format!("{name} uses {krate}"));
            }
        }
        if in_one(PURE) {
            let impure = crates.iter().filter(|krate| ["tokio", "actix_web", "utoipa", "reqwest"].contains(krate));
            wrong.extend(impure.map(|krate| format!("{name} is pure and uses {krate}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The name of a type in the OpenAPI document, if it has a schema.
fn schema_name(item: &Item) -> Option<String> {
    let (ident, attributes) = match item {
        Item::Struct(item) => (&item.ident, &item.attrs),
        Item::Enum(item) => (&item.ident, &item.attrs),
        _ => return None,
    };
    let (mut derived, mut name) = (false, ident.to_string());
    for attribute in attributes {
        // What is not a list of this form is not looked for.
        let _ = attribute.parse_nested_meta(|meta| {
            derived |= attribute.path().is_ident("derive") && meta.path.is_ident("ToSchema");
            if attribute.path().is_ident("schema") && meta.path.is_ident("as") {
                name = meta.value()?.parse::<syn::Ident>()?.to_string();
            }
            Ok(())
        });
    }
    derived.then_some(name)
}

#[test]
fn no_two_types_share_a_schema_of_the_openapi_document() {
    let mut homes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (module, file) in source_files() {
        for name in file.items.iter().filter_map(schema_name) {
            homes.entry(name).or_default().push(module.join("/"));
        }
    }
    assert!(homes.len() > 50, "the types are found");
    homes.retain(|_, files| files.len() > 1);
    assert!(homes.is_empty(), "one hides the other: {homes:?}");
}
