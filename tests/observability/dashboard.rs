//! The dashboard as Grafana would read it.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::{Value, json};

const DASHBOARD: &str = include_str!("../../deploy/grafana/gavel.json");

pub(crate) fn dashboard() -> Value {
    serde_json::from_str(DASHBOARD).unwrap()
}

/// A panel's title and one of its queries, with the dashboard's variables filled in.
pub(crate) fn queries() -> Vec<(String, String)> {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let queries = panels.flat_map(|panel| {
        let title = panel["title"].as_str().unwrap().to_owned();
        let targets = panel["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
        targets.iter().map(move |target| (title.clone(), filled(target["expr"].as_str().unwrap())))
    });
    queries.collect()
}

/// Puts in what Grafana would: everything chosen, and a window that holds the whole test.
pub(crate) fn filled(expression: &str) -> String {
    let variables = dashboard()["templating"]["list"].as_array().unwrap().clone();
    let names = variables.iter().map(|variable| variable["name"].as_str().unwrap());
    let filled = expression.replace("$__rate_interval", "5m").replace("$__range", "5m");
    let filled = names.fold(filled, |text, name| text.replace(&format!("${name}"), ".*"));
    assert!(!filled.contains('$'), "an unknown variable: {filled}");
    filled
}

#[test]
fn it_can_be_imported() {
    let dashboard = dashboard();
    assert_eq!((&dashboard["id"], &dashboard["uid"]), (&json!(null), &json!("gavel")));
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 39);
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let kinds: Vec<(&str, &str)> =
        variables.iter().map(|v| (v["name"].as_str().unwrap(), v["type"].as_str().unwrap())).collect();
    assert_eq!(kinds, [("datasource", "datasource"), ("instance", "query"), ("model", "query"), ("rubric", "query")]);
    assert_eq!(variables[0]["query"], "prometheus");
    // No other data source is named anywhere: whoever imports it has one of their own.
    let text = dashboard.to_string();
    let own = json!({"type": "prometheus", "uid": "${datasource}"}).to_string();
    let grafanas = json!({"type": "grafana", "uid": "-- Grafana --"}).to_string();
    let sources = text.matches("\"datasource\":{").count();
    assert_eq!(sources, text.matches(&own).count() + text.matches(&grafanas).count());
}

#[test]
fn its_panels_have_ids_of_their_own_and_do_not_overlap() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels {
        let title = panel["title"].as_str().filter(|title| !title.is_empty()).unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is taken");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
        assert!(w > 0 && h > 0 && x + w <= 24, "{title} is wider than the page");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(cells.insert(cell), "{title} lies on another panel at {cell:?}");
        }
        if panel["type"] == "row" {
            continue;
        }
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        assert!(!panel["fieldConfig"]["defaults"]["unit"].is_null(), "{title} has no unit");
        let targets = panel["targets"].as_array().unwrap();
        let letters: BTreeSet<&str> = targets.iter().map(|target| target["refId"].as_str().unwrap()).collect();
        assert!(!targets.is_empty() && letters.len() == targets.len(), "{title}: {letters:?}");
    }
}

#[test]
fn every_metric_is_on_it() {
    let page = gavel::metrics::reference();
    let names = page.split("| `gavel_").skip(1).map(|row| format!("gavel_{}", row.split('`').next().unwrap()));
    for name in names {
        assert!(DASHBOARD.contains(&name), "no panel shows {name}");
    }
}

/// Paths as clients call them, which change nothing and judge nothing.
const SPARED: [&str; 3] =
    ["/compat/nemo-gym/{rubric}/seed_session", "/v1/fine_tuning/alpha/graders/validate", "/v1/embeddings"];

/// Prefixes of routes that store and judge nothing.
const STORES: [&str; 3] = ["/v1/files", "/v1/batches", "/v1/reviews"];

#[test]
fn alerts_and_the_top_row_count_every_route_that_judges() {
    let alerts = include_str!("../../deploy/prometheus/alerts.yml");
    let selector = Regex::new(r#"route!~"([^"]+)""#).unwrap();
    let left_out: BTreeSet<String> = [alerts.to_owned()]
        .into_iter()
        .chain(queries().into_iter().map(|(_, query)| query))
        .flat_map(|text| selector.captures_iter(&text).map(|found| found[1].to_owned()).collect::<Vec<_>>())
        .collect();
    let [left_out] = &Vec::from_iter(left_out)[..] else { panic!("several ways to leave routes out") };
    // As Prometheus matches: the whole name of a route.
    let left_out = Regex::new(&format!("^(?:{left_out})$")).unwrap();
    assert!(left_out.is_match("unmatched") && !alerts.contains("route=~"));
    let document: Value = serde_json::from_str(&gavel::api::document().to_json().unwrap()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() > 30, "{paths:?}");
    for (path, methods) in paths {
        let stores = STORES.iter().any(|prefix| path.starts_with(prefix));
        let judges = !methods["post"].is_null() && !stores;
        assert!(SPARED.contains(&path.as_str()) || judges != left_out.is_match(path), "{path}: judges {judges}");
    }
}

#[test]
fn every_alert_has_a_line_for_whoever_is_called() {
    let (alerts, readme) = (include_str!("../../deploy/prometheus/alerts.yml"), include_str!("../../deploy/README.md"));
    let tests = include_str!("../../deploy/prometheus/alerts.test.yml");
    let names: Vec<&str> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(names.len() >= 8, "{names:?}");
    for name in names {
        assert!(readme.contains(&format!("| `{name}` |")), "deploy/README.md has no line for {name}");
        let line = format!("alertname: {name}\n");
        let fires = tests.split(&line).skip(1);
        let (fires, silent): (Vec<bool>, Vec<bool>) =
            fires.map(|rest| !rest.trim_start().starts_with("exp_alerts: []")).partition(|fires| *fires);
        assert!(!fires.is_empty() && !silent.is_empty(), "{name} is not shown to fire and not to fire");
    }
}
