use proptest::prelude::*;
use serde_json::Value;

use super::page;
use crate::domain::agreement::report::Report;

fn made_up() -> Value {
    serde_json::from_str(include_str!("../../../../tests/agreement/report.json")).unwrap()
}

fn rendered(report: &Value) -> String {
    page(&serde_json::from_value::<Report>(report.clone()).unwrap()).unwrap()
}

/// Of one judge, on items with scores.
fn scores_only() -> Value {
    let mut report = made_up();
    report["judges"].as_array_mut().unwrap().truncate(1);
    let judge = &mut report["judges"][0];
    (judge["pairwise"], judge["reward"]) = (Value::Null, Value::Null);
    judge["coverage"] = serde_json::json!({"items": 240, "judged": 240, "unscored": 0, "failed": 0});
    report["labels"]["pairwise"] = Value::Null;
    report["comparisons"] = serde_json::json!([]);
    report["data"].as_array_mut().unwrap().truncate(2);
    report
}

// The snapshots are pages: open them in a browser. tests/page holds them to what only a browser knows.
#[test]
fn the_page_of_two_judges() {
    insta::assert_binary_snapshot!("two_judges.html", rendered(&made_up()).into_bytes());
}

#[test]
fn the_page_of_scores_alone() {
    insta::assert_binary_snapshot!("scores_alone.html", rendered(&scores_only()).into_bytes());
}

#[test]
fn what_is_not_defined_is_said_to_be_so() {
    let mut report = scores_only();
    for figure in ["pearson", "spearman", "kendall_tau_b"] {
        report["judges"][0]["absolute"][figure] = Value::Null;
    }
    for bound in ["low", "high"] {
        report["judges"][0]["absolute"]["mae"][bound] = Value::Null;
    }
    report["labels"]["absolute"] = Value::Null;
    let page = rendered(&report);
    assert!(page.contains("not defined") && page.contains("no order"), "{page}");
    assert!(!page.contains("NaN") && !page.contains("null"), "{page}");
}

/// Puts a text in the place of every text of a report, and in the names of sets.
fn replaced(value: &mut Value, text: &str) {
    match value {
        Value::String(old) => *old = text.to_owned(),
        Value::Array(all) => all.iter_mut().for_each(|one| replaced(one, text)),
        Value::Object(fields) => {
            for name in ["by_set", "by_subset"] {
                if let Some(Value::Object(groups)) = fields.get_mut(name) {
                    *groups = groups.iter().next().map(|(_, of)| (text.to_owned(), of.clone())).into_iter().collect();
                }
            }
            fields.values_mut().for_each(|one| replaced(one, text));
        }
        _ => {}
    }
}

/// The elements and attributes of a page, without their texts and values.
fn skeleton(page: &str) -> Vec<String> {
    let tags = regex::Regex::new(r#"<[a-zA-Z!/](?:[^>"]|"[^"]*")*>"#).unwrap();
    let values = regex::Regex::new(r#""[^"]*""#).unwrap();
    tags.find_iter(page).map(|tag| values.replace_all(tag.as_str(), "").into_owned()).collect()
}

fn check(text: &str) {
    let with = |text: &str| {
        let mut report = made_up();
        replaced(&mut report, text);
        rendered(&report)
    };
    // Text and values may be anything; what is between them may not.
    let (plain, page) = (with("plain"), with(text));
    assert_eq!(skeleton(&page), skeleton(&plain), "{text:?} changes the elements of the page");
}

#[test]
fn names_cannot_write_elements() {
    check("<script>alert(1)</script>");
    check("\" onload=\"alert(1)");
    check("' onload='alert(1)");
    check("</title></style></svg><img src=x onerror=alert(1)>");
    check("{{ title }}{% if %}&lt;&#60;");
    check("-->]]><!--");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn no_text_reaches_the_page_unescaped(text in r#"[ -~]{0,3}["'<>&]{1,3}[ -~é漢\n]{0,6}"#) {
        check(&text);
    }
}
