//! A comparison as a page.

use serde::Serialize;

use super::super::CliError;
use super::super::page::forest::{Entry, Forest, Layout};
use super::super::page::render;
use super::super::page::svg::Symbol;
use super::super::page::units::{Unit, count, counted};
use super::report::{Compared, Report, Side, Verdict, ends};
use super::table::shortened;
use crate::domain::runs::Shift;

/// Characters of an instruction in a table; the whole stands with the feedback.
const INSTRUCTION: usize = 160;

/// What the page shows.
#[derive(Serialize)]
struct Page {
    title: String,
    lead: String,
    findings: Vec<(&'static str, String)>,
    sides: Vec<Facts>,
    forests: Vec<Forest>,
    tables: Vec<Items>,
    resamples: String,
    by_item: bool,
    run: Vec<(&'static str, String)>,
}

/// One of the runs.
#[derive(Serialize)]
struct Facts {
    name: String,
    facts: Vec<(&'static str, String)>,
}

/// Some of the items.
#[derive(Serialize)]
struct Items {
    heading: &'static str,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    id: String,
    instruction: Option<String>,
    a: Said,
    b: Said,
    difference: String,
}

/// A verdict of one run.
#[derive(Serialize)]
struct Said {
    value: String,
    said: String,
    feedback: Option<String>,
}

/// The page of a comparison, with so many of the worst and of the best items.
///
/// # Errors
/// When the template is wrong, which no report makes it.
pub(super) fn page(report: &Report, top: usize) -> Result<String, CliError> {
    let (worst, best) = ends(&report.items, top);
    let some = |heading, items: Vec<&Compared>| {
        let rows: Vec<Row> = items.into_iter().map(row).collect();
        (!rows.is_empty()).then_some(Items { heading, rows })
    };
    let (a, b) = (&report.a.name, &report.b.name);
    let page = Page {
        title: format!("{b} compared with {a}"),
        lead: format!("{} with a verdict in both runs.", counted(report.change.both, "item")),
        findings: findings(report),
        sides: [&report.a, &report.b].into_iter().map(facts).collect(),
        forests: forests(report),
        tables: [some("Worst", worst), some("Best", best)].into_iter().flatten().collect(),
        resamples: count(report.resamples),
        by_item: report.by_item,
        run: vec![
            ("Version", format!("gavel {}", env!("CARGO_PKG_VERSION"))),
            ("Seed", report.seed.to_string()),
            ("Resamples", count(report.resamples)),
            ("Minimum label mass", report.min_label_mass.to_string()),
        ],
    };
    render(include_str!("page.html.j2"), page)
}

fn findings(report: &Report) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let of = [("Rewards", &report.change.responses), ("Pairs", &report.change.pairs)];
    for (what, shift) in of.into_iter().filter_map(|(what, shift)| Some((what, shift.as_ref()?))) {
        let Shift { difference, up, down, same, .. } = shift;
        let verdict = match (difference.low, difference.high) {
            (Some(low), _) if low > 0.0 => format!("{} is higher", report.b.name),
            (_, Some(high)) if high < 0.0 => format!("{} is lower", report.b.name),
            _ => "No difference is shown".to_owned(),
        };
        let by = Unit::Difference.sentence(difference);
        found.push((what, format!("{verdict}: {by}, {}.", probability(shift.p_value))));
        let towards = if what == "Pairs" { ("towards A", "towards B") } else { ("up", "down") };
        found.push((
            "Flips",
            format!("{} went {}, {} {}, {} stayed.", count(*up), towards.0, count(*down), towards.1, count(*same)),
        ));
    }
    if !report.differs.is_empty() {
        found.push(("Made with", format!("another {}.", report.differs.join(", another "))));
    }
    if report.only_a + report.only_b > 0 {
        let (a, b) = (count(report.only_a), count(report.only_b));
        found.push(("Left out", format!("{a} only in {}, {b} only in {}.", report.a.name, report.b.name)));
    }
    found
}

fn facts(side: &Side) -> Facts {
    let unnamed = || "not named in the verdicts, or several".to_owned();
    let named = |name: &Option<String>| name.clone().unwrap_or_else(unnamed);
    let graded = format!(
        "{} of {}, {} unscored, {} failed",
        count(side.graded),
        counted(side.items, "item"),
        count(side.unscored),
        count(side.failed)
    );
    Facts {
        name: side.name.clone(),
        facts: vec![
            ("File", side.path.clone()),
            ("Graded", graded),
            ("Model", named(&side.model)),
            ("Rubric", named(&side.rubric)),
            ("Prompt set", named(&side.prompt)),
        ],
    }
}

fn forests(report: &Report) -> Vec<Forest> {
    let of = [
        (&report.change.responses, "Mean reward", "Difference of the mean reward"),
        (&report.change.pairs, "Mean probability that A is better", "Difference of that probability"),
    ];
    let drawn = |(shift, means, difference): (&Shift, &str, &str)| {
        let layout = Layout {
            rows: "Run",
            caption: means,
            note: "Over the same items; 95 % intervals.",
            unit: Unit::Number,
            dashed: None,
        };
        let entry = |nth, name: &str, figure| Entry::of_judge(nth, name, Unit::Number, Some(figure));
        let runs = Forest::new(&layout, vec![entry(0, &report.a.name, &shift.a), entry(1, &report.b.name, &shift.b)]);
        let layout = Layout {
            rows: "Difference",
            caption: difference,
            note: "Of paired items.",
            unit: Unit::Difference,
            dashed: Some((0.0, "no difference")),
        };
        let entry = Entry {
            group: None,
            name: format!("{} less {}", report.b.name, report.a.name),
            class: "difference".into(),
            symbol: Symbol::Circle,
            unit: Unit::Difference,
            figure: Some(shift.difference),
            beside: Vec::new(),
            more: Some(probability(shift.p_value)),
        };
        [runs, Forest::new(&layout, vec![entry])]
    };
    let there = of.into_iter().filter_map(|(shift, means, difference)| Some((shift.as_ref()?, means, difference)));
    there.flat_map(drawn).flatten().collect()
}

fn row(item: &Compared) -> Row {
    let said = |verdict: &Verdict| Said {
        value: Unit::Number.value(verdict.value),
        said: verdict.said(),
        feedback: verdict.feedback.clone(),
    };
    Row {
        id: item.id.clone(),
        instruction: item.instruction.as_deref().map(|text| shortened(text, INSTRUCTION)),
        a: said(&item.a),
        b: said(&item.b),
        difference: Unit::Difference.value(item.difference),
    }
}

fn probability(p: f64) -> String {
    if p < 0.0005 { "p < 0.001".into() } else { format!("p = {p:.3}") }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::made_up;
    use super::*;

    #[test]
    fn the_page_shows_differences_and_escapes_texts() {
        let shown = page(&made_up(), 3).unwrap();
        for part in
            ["<title>after compared with before</title>", "12 items with a verdict", "another model", "Worst", "item-0"]
        {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert!(!shown.contains("<b>Fine") && shown.contains("&lt;b&gt;Fine &amp;"), "{shown}");
        assert!(!shown.contains("NaN") && !shown.contains("<script"), "{shown}");
    }
}
