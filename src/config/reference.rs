//! The reference page of settings.

/// The defaults, which are also the reference documentation of all settings.
pub const DEFAULTS: &str = include_str!("../../config.default.toml");

/// docs/configuration.md, generated from `config.default.toml`.
#[must_use]
pub fn reference() -> String {
    let mut page =
        String::from("# Configuration\n\nGenerated from `config.default.toml` with `gavel docs configuration`.\n");
    let (mut comment, mut in_table) = (Vec::new(), false);
    for line in DEFAULTS.lines() {
        if let Some(text) = line.strip_prefix('#') {
            comment.push(text.trim());
            continue;
        }
        let said = comment.join(" ");
        comment.clear();
        if let Some(table) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            page.push_str(&format!("\n## {table}\n\n"));
            if !said.is_empty() {
                page.push_str(&format!("{said}\n\n"));
            }
            page.push_str("| key | default | |\n| --- | --- | --- |\n");
            in_table = true;
        } else if let Some((key, value)) = line.split_once(" = ") {
            if !in_table {
                page.push_str("\n| key | default | |\n| --- | --- | --- |\n");
                in_table = true;
            }
            page.push_str(&format!("| `{key}` | `{value}` | {said} |\n"));
        } else if !said.is_empty() {
            page.push_str(&format!("\n{said}\n"));
        }
    }
    page
}
