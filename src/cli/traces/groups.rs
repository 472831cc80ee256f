//! The judgements of each prompt, those that match the label of its item, and the rows that are made of them.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Value, json};

use super::super::CliError;
use super::super::tables::{Cells, Table};
use super::counts::Counts;
use crate::domain::Preference;
use crate::labelled::{Labelled, LabelledItem};

/// Which judgements count.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// Maximum distance of a score from its label.
    pub(super) tolerance: f64,
    /// Below it, a judgement is a guess.
    pub(super) min_label_mass: f64,
}

/// How the responses of an item were shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shown {
    /// One response.
    Alone,
    AB,
    BA,
}

impl Shown {
    fn of(order: &Value) -> Self {
        match order.as_str() {
            Some("AB") => Self::AB,
            Some("BA") => Self::BA,
            _ => Self::Alone,
        }
    }

    fn order(self) -> Value {
        match self {
            Self::Alone => Value::Null,
            Self::AB => json!("AB"),
            Self::BA => json!("BA"),
        }
    }

    /// A name of the prompt of an item.
    pub(super) fn name_of(self, id: &str) -> String {
        match self {
            Self::Alone => id.to_owned(),
            Self::AB => format!("{id}#AB"),
            Self::BA => format!("{id}#BA"),
        }
    }
}

/// The judgements of one prompt.
#[derive(Debug)]
pub(super) struct Group<'a> {
    pub(super) item: &'a LabelledItem,
    pub(super) order: Shown,
    /// The prompt as messages.
    messages: Value,
    matching: Vec<Trace>,
    differing: Vec<Trace>,
}

/// What a judge wrote.
#[derive(Debug)]
struct Trace {
    answer: String,
    sample: Value,
    seed: Value,
    /// Whether it knew the label.
    rationalized: bool,
}

/// What a judgement is worth.
#[derive(Debug, PartialEq, Eq)]
enum Worth {
    Matches,
    Differs,
    Unscored,
    Cut,
}

fn worth(judgement: &Value, item: &LabelledItem, rules: Rules) -> Worth {
    if judgement["label_mass"].as_f64().is_none_or(|mass| mass < rules.min_label_mass) {
        return Worth::Unscored;
    }
    if judgement["finish"] == "length" || judgement["thoughts_finish"] == "length" {
        return Worth::Cut;
    }
    let matches = match &item.labelled {
        Labelled::Score { label, .. } => {
            judgement["score"].as_f64().is_some_and(|score| (score - label).abs() <= rules.tolerance + 1e-9)
        }
        Labelled::Pair { label, .. } => match label {
            Preference::A => judgement["preference"] == "A",
            Preference::B => judgement["preference"] == "B",
            Preference::Tie => false,
        },
    };
    if matches { Worth::Matches } else { Worth::Differs }
}

impl Trace {
    fn of(judgement: &Value, rationalized: bool) -> Option<Self> {
        let answer = judgement["answer"].as_str()?.to_owned();
        Some(Self { answer, sample: judgement["sample"].clone(), seed: judgement["seed"].clone(), rationalized })
    }
}

/// The prompts of all items with their judgements, in the order of the items. An item that no judgement can match has
/// none.
///
/// # Errors
/// If a verdict has no prompts: a server of an older version does not tell them.
pub(super) fn of<'a>(
    items: &'a [LabelledItem],
    verdicts: &HashMap<String, Value>,
    rules: Rules,
    counts: &mut Counts,
) -> Result<Vec<Group<'a>>, CliError> {
    let mut groups = Vec::new();
    for item in items {
        let Some(verdict) = verdicts.get(&item.id) else { continue };
        let judgements = verdict["judgements"].as_array().map(Vec::as_slice).unwrap_or_default();
        match &item.labelled {
            Labelled::Pair { label: Preference::Tie, .. } => {
                counts.ties += 1;
                continue;
            }
            Labelled::Score { label, scale, .. } if !on_scale(*label, *scale, judgements) => {
                counts.off_scale += 1;
                continue;
            }
            _ => {}
        }
        let mut by_order: BTreeMap<Shown, Group<'_>> = BTreeMap::new();
        for judgement in judgements {
            let order = Shown::of(&judgement["order"]);
            let messages = judgement["messages"].clone();
            let told = Trace::of(judgement, false).filter(|_| messages.is_array());
            let told = told.ok_or_else(|| {
                let what = "the judge does not tell its prompts: leave out items with pictures, and use a server of \
                            this version or newer";
                CliError::because(&item.id, what)
            })?;
            let group = by_order.entry(order).or_insert_with(|| Group {
                item,
                order,
                messages,
                matching: Vec::new(),
                differing: Vec::new(),
            });
            group.add(told, worth(judgement, item, rules), counts);
        }
        counts.matched += usize::from(by_order.values().any(|group| !group.matching.is_empty()));
        groups.extend(by_order.into_values());
    }
    Ok(groups)
}

/// Whether a label is on the scale of the rubric that the judgements are by.
fn on_scale(label: f64, scale: Option<crate::domain::Scale>, judgements: &[Value]) -> bool {
    let levels = judgements.first().and_then(|judgement| judgement["distribution"].as_object());
    let levels: Vec<i32> = levels.into_iter().flatten().filter_map(|(level, _)| level.parse().ok()).collect();
    let (Some(lowest), Some(highest)) = (levels.iter().min(), levels.iter().max()) else { return true };
    let same = scale.is_none_or(|scale| (scale.lowest(), scale.highest()) == (*lowest, *highest));
    same && (f64::from(*lowest)..=f64::from(*highest)).contains(&label)
}

impl Group<'_> {
    /// Its name among requests with a hint.
    pub(super) fn name(&self) -> String {
        self.order.name_of(&self.item.id)
    }

    /// Whether no judgement matches.
    pub(super) fn wants_hint(&self) -> bool {
        self.matching.is_empty()
    }

    fn add(&mut self, trace: Trace, worth: Worth, counts: &mut Counts) {
        counts.judgements += 1;
        match worth {
            Worth::Matches => {
                counts.matching += 1;
                self.matching.push(trace);
            }
            Worth::Differs => {
                counts.differing += 1;
                self.differing.push(trace);
            }
            Worth::Unscored => counts.unscored += 1,
            Worth::Cut => counts.cut += 1,
        }
    }

    /// Adds the judgement that knew the label, if it matches. It was asked with the responses in the order that is shown.
    pub(super) fn add_hinted(&mut self, verdict: &Value, rules: Rules, counts: &mut Counts) -> Result<(), CliError> {
        let mut judgement = verdict["judgements"][0].clone();
        if self.order == Shown::BA {
            judgement["preference"] = match judgement["preference"].as_str() {
                Some("A") => json!("B"),
                Some("B") => json!("A"),
                _ => Value::Null,
            };
        }
        if worth(&judgement, self.item, rules) != Worth::Matches {
            return Ok(());
        }
        let trace = Trace::of(&judgement, true);
        let trace = trace.ok_or_else(|| CliError::because(&self.item.id, "the judge does not tell its answers"))?;
        counts.rationalized += 1;
        self.matching.push(trace);
        Ok(())
    }

    /// The start of each of its rows.
    fn row(&self) -> Vec<Value> {
        vec![json!(self.item.id), self.messages.clone()]
    }
}

/// Traces with different texts, and how many are left out.
fn distinct<'t>(traces: &'t [Trace], counts: &mut Counts) -> Vec<&'t Trace> {
    let mut seen = HashSet::new();
    let distinct: Vec<&Trace> = traces.iter().filter(|trace| seen.insert(trace.answer.trim())).collect();
    counts.repeated += traces.len() - distinct.len();
    distinct
}

/// The model's turn.
fn said(trace: &Trace) -> Value {
    json!([{"role": "assistant", "content": trace.answer}])
}

fn table(columns: &[(&str, Cells)], rows: Vec<Vec<Value>>, counts: &mut Counts) -> Table {
    counts.rows = rows.len();
    Table { columns: columns.iter().map(|(name, cells)| ((*name).to_owned(), *cells)).collect(), rows }
}

/// Rows of matching judgements: TRL's conversational prompt and completion.
pub(super) fn matching(groups: &[Group<'_>], most: usize, counts: &mut Counts) -> Table {
    const COLUMNS: [(&str, Cells); 7] = [
        ("id", Cells::Text),
        ("prompt", Cells::Messages),
        ("completion", Cells::Messages),
        ("order", Cells::Text),
        ("sample", Cells::Number),
        ("seed", Cells::Number),
        ("rationalized", Cells::Flag),
    ];
    let mut rows = Vec::new();
    for group in groups {
        for trace in distinct(&group.matching, counts).into_iter().take(most) {
            let mut row = group.row();
            row.extend([said(trace), group.order.order(), trace.sample.clone(), trace.seed.clone()]);
            row.push(json!(trace.rationalized));
            rows.push(row);
        }
    }
    table(&COLUMNS, rows, counts)
}

/// Rows of pairs: TRL's conversational preferences. No judgement is in two pairs.
pub(super) fn pairs(groups: &[Group<'_>], most: usize, counts: &mut Counts) -> Table {
    const COLUMNS: [(&str, Cells); 6] = [
        ("id", Cells::Text),
        ("prompt", Cells::Messages),
        ("chosen", Cells::Messages),
        ("rejected", Cells::Messages),
        ("order", Cells::Text),
        ("rationalized", Cells::Flag),
    ];
    let mut rows = Vec::new();
    for group in groups {
        let (chosen, rejected) = (distinct(&group.matching, counts), distinct(&group.differing, counts));
        counts.no_pair += usize::from(chosen.is_empty() || rejected.is_empty());
        for (chosen, rejected) in chosen.into_iter().zip(rejected).take(most) {
            let mut row = group.row();
            row.extend([said(chosen), said(rejected), group.order.order(), json!(chosen.rationalized)]);
            rows.push(row);
        }
    }
    table(&COLUMNS, rows, counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Scale;

    const RULES: Rules = Rules { tolerance: 0.0, min_label_mass: 0.1 };

    fn item(id: &str, labelled: Labelled) -> LabelledItem {
        LabelledItem {
            id: id.to_owned(),
            place: "items.jsonl:1".to_owned(),
            set: "items".to_owned(),
            subset: None,
            instruction: "Why?".to_owned(),
            body: serde_json::Map::new(),
            labelled,
        }
    }

    fn scored(id: &str, label: f64) -> LabelledItem {
        item(id, Labelled::Score { label, scale: None, length: 1 })
    }

    fn compared(id: &str, label: Preference) -> LabelledItem {
        item(id, Labelled::Pair { label, votes: Vec::new(), lengths: [1, 1], chosen: None })
    }

    fn judgement(change: Value) -> Value {
        let mut judgement = json!({
            "sample": 0, "seed": 3, "score": 4, "label_mass": 0.9, "finish": "stop", "answer": "Good. [RESULT] 4",
            "messages": [{"role": "user", "content": "Judge."}], "distribution": {"1": 0.1, "5": 0.9},
        });
        change.as_object().unwrap().iter().for_each(|(name, value)| judgement[name] = value.clone());
        judgement
    }

    fn verdicts(id: &str, judgements: &[Value]) -> HashMap<String, Value> {
        HashMap::from([(id.to_owned(), json!({"judgements": judgements}))])
    }

    #[test]
    fn a_judgement_matches_by_score_or_preference() {
        let check = |item: &LabelledItem, tolerance: f64, change: Value, expected: Worth| {
            let rules = Rules { tolerance, ..RULES };
            assert_eq!(worth(&judgement(change.clone()), item, rules), expected, "{change}");
        };
        check(&scored("a", 4.0), 0.0, json!({}), Worth::Matches);
        check(&scored("a", 3.0), 0.0, json!({}), Worth::Differs);
        check(&scored("a", 3.0), 1.0, json!({}), Worth::Matches);
        check(&scored("a", 3.5), 0.5, json!({}), Worth::Matches);
        check(&scored("a", 4.0), 0.0, json!({"label_mass": 0.09}), Worth::Unscored);
        check(&scored("a", 4.0), 0.0, json!({"finish": "length"}), Worth::Cut);
        check(&scored("a", 4.0), 0.0, json!({"thoughts_finish": "length"}), Worth::Cut);
        check(&compared("a", Preference::A), 0.0, json!({"preference": "A"}), Worth::Matches);
        check(&compared("a", Preference::B), 0.0, json!({"preference": "A"}), Worth::Differs);
        check(&compared("a", Preference::Tie), 0.0, json!({"preference": "tie"}), Worth::Differs);
    }

    #[test]
    fn traces_are_those_that_match_each_once() {
        let items = [scored("a", 4.0), scored("b", 9.0), scored("failed", 1.0)];
        let other = json!({"sample": 1, "answer": "So-so. [RESULT] 4"});
        let wrong = json!({"score": 1, "answer": "Bad. [RESULT] 1"});
        let judgements = [json!({}), json!({}), other, wrong].map(judgement);
        let mut verdicts = verdicts("a", &judgements);
        verdicts.insert("b".to_owned(), json!({"judgements": [judgement(json!({}))]}));
        let mut counts = Counts { items: 3, failed: 1, ..Counts::default() };
        let groups = of(&items, &verdicts, RULES, &mut counts).unwrap();
        let table = matching(&groups, usize::MAX, &mut counts);
        let said: Vec<&Value> = table.rows.iter().map(|row| &row[2][0]["content"]).collect();
        assert_eq!(said, ["Good. [RESULT] 4", "So-so. [RESULT] 4"]);
        let first = json!(["a", [{"role": "user", "content": "Judge."}],
                           [{"role": "assistant", "content": "Good. [RESULT] 4"}], null, 0, 3, false]);
        assert_eq!(json!(table.rows[0]), first);
        let expected = Counts {
            items: 3,
            failed: 1,
            off_scale: 1,
            matched: 1,
            judgements: 4,
            matching: 3,
            differing: 1,
            repeated: 1,
            rows: 2,
            ..Counts::default()
        };
        assert_eq!(counts, expected);
        assert_eq!(matching(&groups, 1, &mut Counts::default()).rows.len(), 1);
    }

    #[test]
    fn pairs_are_of_one_prompt_and_use_each_judgement_once() {
        let items = [compared("a", Preference::B), compared("tie", Preference::Tie)];
        let of_order = |order: &str, preference: &str, answer: &str| {
            judgement(json!({"order": order, "preference": preference, "answer": answer,
                             "messages": [{"role": "user", "content": order}]}))
        };
        let judgements = [
            of_order("AB", "B", "1"),
            of_order("AB", "A", "2"),
            of_order("AB", "B", "3"),
            of_order("BA", "B", "4"),
            of_order("BA", "B", "5"),
        ];
        let mut verdicts = verdicts("a", &judgements);
        verdicts.insert("tie".to_owned(), json!({"judgements": judgements}));
        let mut counts = Counts::default();
        let groups = of(&items, &verdicts, RULES, &mut counts).unwrap();
        let table = pairs(&groups, usize::MAX, &mut counts);
        let expected = json!([["a", [{"role": "user", "content": "AB"}], [{"role": "assistant", "content": "1"}],
                               [{"role": "assistant", "content": "2"}], "AB", false]]);
        assert_eq!(json!(table.rows), expected);
        assert_eq!((counts.ties, counts.no_pair, counts.matched, counts.rows), (1, 1, 1, 1));
        assert!(counts.text().contains("no pair        1"), "{}", counts.text());
    }

    #[test]
    fn a_hinted_judgement_counts_if_it_matches_and_is_marked() {
        let items = [compared("a", Preference::A)];
        let wrong = judgement(json!({"order": "BA", "preference": "B", "answer": "Wrong."}));
        let hinted = |preference: &str| json!({"judgements": [judgement(json!({"order": "AB", "preference": preference, "answer": "Right."}))]});
        let verdicts = verdicts("a", &[wrong]);
        let mut counts = Counts::default();
        let mut groups = of(&items, &verdicts, RULES, &mut counts).unwrap();
        assert!(groups[0].wants_hint() && groups[0].name() == "a#BA");
        // What was shown as A is the caller's B.
        groups[0].add_hinted(&hinted("A"), RULES, &mut counts).unwrap();
        assert_eq!(counts.rationalized, 0);
        groups[0].add_hinted(&hinted("B"), RULES, &mut counts).unwrap();
        let row = pairs(&groups, usize::MAX, &mut counts).rows.remove(0);
        assert_eq!(
            json!(row[2..]),
            json!([[{"role": "assistant", "content": "Right."}],
                                           [{"role": "assistant", "content": "Wrong."}], "BA", true])
        );
        assert_eq!((counts.rationalized, counts.rows), (1, 1));
    }

    #[test]
    fn a_label_must_be_on_the_scale_of_the_rubric() {
        let judgements = [judgement(json!({}))];
        let five = Scale::between([1, 5]).unwrap();
        let check = |label: f64, scale: Option<Scale>, expected: bool| {
            assert_eq!(on_scale(label, scale, &judgements), expected, "{label} {scale:?}");
        };
        check(5.0, None, true);
        check(0.0, None, false);
        check(3.5, Some(five), true);
        check(1.0, Some(Scale::between([0, 1]).unwrap()), false);
    }
}
