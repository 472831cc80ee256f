//! A simulation as a page.

use serde::Serialize;

use super::super::CliError;
use super::super::page::forest::{Entry, Forest, Layout};
use super::super::page::panel::{Key, Panel};
use super::super::page::render;
use super::super::page::svg::{Anchor, Axis, Plot, SMALL, Symbol};
use super::super::page::units::{Unit, count, counted};
use super::report::{Report, routed_by};
use crate::domain::Kind;
use crate::domain::agreement::report::Figure;
use crate::domain::routing::{CurvePoint, Simulation};

/// As wide as the text of a narrow phone, so that there the plot is drawn at its own size.
const WIDTH: f64 = 328.0;

/// What the page shows.
#[derive(Serialize)]
struct Page {
    title: &'static str,
    lead: String,
    findings: Vec<(&'static str, String)>,
    curve: Panel,
    areas: Forest,
    run: Vec<(&'static str, String)>,
    data: Vec<(String, String)>,
}

/// The page of a report.
///
/// # Errors
/// When the template is wrong, which no report makes it.
pub(super) fn page(report: &Report) -> Result<String, CliError> {
    let simulation = &report.simulation;
    let what = match report.kind {
        Kind::Absolute => "labelled score",
        Kind::Relative => "labelled pair",
    };
    let page = Page {
        title: "Routing to people or the judge",
        lead: format!(
            "{} on {}. Items are routed by {}.",
            counted(simulation.items, what),
            counted(simulation.instructions, "instruction"),
            report.router.as_ref().map_or("the judge's own uncertainty", |router| router.path.as_str())
        ),
        findings: findings(simulation),
        curve: curve(&simulation.points),
        areas: areas(simulation),
        run: vec![
            ("Version", format!("gavel {}", env!("CARGO_PKG_VERSION"))),
            ("Routed by", routed_by(report)),
            ("Model", report.judged_with.model.clone()),
            ("Prompt", report.judged_with.prompt.clone()),
            ("Seed", report.seed.to_string()),
            ("Resamples", count(report.resamples as usize)),
        ],
        data: report
            .data
            .iter()
            .map(|source| (source.name.clone(), format!("{}, {}", counted(source.items, "item"), source.sha256)))
            .collect(),
    };
    render(include_str!("page.html.j2"), page)
}

fn findings(Simulation { points, area, best_area, .. }: &Simulation) -> Vec<(&'static str, String)> {
    let verdict = match (area.low, area.high) {
        (Some(low), _) if low > 0.0 => "Better than random routing",
        (_, Some(high)) if high < 0.0 => "Worse than random routing",
        _ => "Not shown to be better than random routing",
    };
    let alone = points.first().map(|point| Unit::Share.sentence(&point.accuracy)).unwrap_or_default();
    let at = |share: f64| points.iter().find(|point| (point.share - share).abs() < 1e-9);
    let of_share = |point: &CurvePoint| {
        let (routed, random) = (Unit::Share.sentence(&point.accuracy), Unit::Share.sentence(&point.random));
        format!("{routed}, at random {random}")
    };
    let mut found = vec![
        ("Gain", format!("{verdict}: {} on average over all shares.", Unit::Points.sentence(area))),
        ("At most", format!("{}, if exactly the judge's errors went first.", Unit::Points.sentence(best_area))),
        ("Judge alone", format!("accuracy {alone}.")),
    ];
    found.extend(at(0.2).map(|point| ("20 % to people", format!("accuracy {}.", of_share(point)))));
    found
}

fn areas(Simulation { area, best_area, .. }: &Simulation) -> Forest {
    let layout = Layout {
        rows: "Routing",
        caption: "Area between the curves",
        note: "The mean gain of accuracy over all shares; 95 % intervals.",
        unit: Unit::Points,
        dashed: Some((0.0, "random")),
    };
    let entry = |nth: usize, name: &str, figure: &Figure| Entry::of_judge(nth, name, Unit::Points, Some(figure));
    let entries = vec![entry(0, "as routed", area), entry(1, "errors first", best_area)];
    Forest::new(&layout, entries).expect("there are entries")
}

/// Accuracy by share, with intervals.
fn curve(points: &[CurvePoint]) -> Panel {
    let (left, right, top, high) = (44.0, WIDTH - 20.0, 22.0, 230.0);
    let values = points.iter().flat_map(|point| {
        [&point.accuracy, &point.random].into_iter().flat_map(|figure| [Some(figure.value), figure.low, figure.high])
    });
    let up = Axis::over(values.flatten(), [top + high, top]);
    let across = Axis::fixed(0.0, 1.0, 0.2, [left, right]);
    let title = "Accuracy by the share that goes to people, routed and at random; the table has the numbers".to_owned();
    let mut plot = Plot::new(WIDTH, top + high + 36.0, Some(title));
    plot.text((0.0, 12.0), Anchor::Start, "soft", "accuracy");
    for tick in up.ticks() {
        plot.line((left, up.at(tick)), (right, up.at(tick)), "grid");
        plot.text((left - 6.0, up.at(tick) + 4.0), Anchor::End, "soft", Unit::Share.tick(tick, up.step));
    }
    for tick in across.ticks() {
        plot.text((across.at(tick), top + high + 14.0), Anchor::Middle, "soft", Unit::Share.tick(tick, 0.2));
    }
    let place = |point: &CurvePoint, figure: &Figure| (across.at(point.share), up.at(figure.value));
    for pair in points.windows(2) {
        plot.line(place(&pair[0], &pair[0].random), place(&pair[1], &pair[1].random), "dashed");
        plot.line(place(&pair[0], &pair[0].accuracy), place(&pair[1], &pair[1].accuracy), "curve");
    }
    for point in points {
        let (x, _) = place(point, &point.accuracy);
        if let (Some(low), Some(high)) = (point.accuracy.low, point.accuracy.high) {
            plot.line((x, up.at(low)), (x, up.at(high)), "interval");
        }
        let tip = format!("{}: {}", Unit::Share.value(point.share), Unit::Share.sentence(&point.accuracy));
        plot.symbol(Symbol::Circle, place(point, &point.accuracy), Some(tip));
    }
    plot.line((left, top + high), (right, top + high), "base");
    plot.text((right, top + high + 18.0 + SMALL), Anchor::End, "soft", "share that goes to people");
    Panel {
        caption: "Accuracy by the share that goes to people".into(),
        note: "People's labels count as right. The dashed line is random routing.".into(),
        plot,
        legend: vec![Key { class: "judge", text: "as routed" }],
        table: "The numbers as a table",
        head: ["to people", "score from", "routed", "at random", "gain"].map(str::to_owned).to_vec(),
        rows: points.iter().map(row).collect(),
    }
}

fn row(point: &CurvePoint) -> Vec<String> {
    vec![
        Unit::Share.value(point.share),
        point.threshold.map_or_else(|| "none".to_owned(), |score| Unit::Number.value(score)),
        Unit::Share.sentence(&point.accuracy),
        Unit::Share.sentence(&point.random),
        Unit::Points.sentence(&point.gain),
    ]
}
