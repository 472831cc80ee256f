use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::domain::{Preference, Scale};

/// Files of some texts, in a folder of their own.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn read(&self, name: &str, text: impl AsRef<[u8]>, map: &str) -> Result<LabelledFile, String> {
        let path = self.write(name, text);
        let mapping: Mapping = map.parse().unwrap();
        super::read(&[path], &mapping).map(|mut files| files.remove(0)).map_err(|error| error.to_string())
    }

    /// The first item of a file.
    fn first(&self, name: &str, text: impl AsRef<[u8]>, map: &str) -> LabelledItem {
        self.read(name, text, map).unwrap().items.remove(0)
    }
}

fn lines(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

fn rubric() -> Value {
    json!({"criteria": "Is it right?", "scores": {"1": "No.", "2": "Partly.", "3": "Yes."}})
}

#[test]
fn our_own_form_is_read() {
    let folder = Folder::new();
    let one = json!({
        "id": "a", "set": "made up", "instruction": "Why?", "response": "Ünd so.", "reference": "Thus.", "rubric": rubric(),
        "label": 2.3333, "labels": [2, 2, 3], "label_source": "people", "scale": [1, 3], "meta": {"category": "why"},
    });
    let pair = json!({
        "instruction": [{"role": "user", "content": "Why?"}], "response_a": "So.", "response_b": "Thus.", "label": "tie",
        "votes": ["A", "B", "tie"], "meta": {"model": "m", "bias": "length"},
    });
    let file = folder.read("things.jsonl", lines(&[one, pair]), "").unwrap();
    assert_eq!((file.format.as_str(), file.sha256.len()), ("gavel", 64));
    let scale = Scale::from_levels(&[1, 2, 3]).ok();
    let [one, pair] = &file.items[..] else { panic!("two items") };
    assert_eq!((one.id.as_str(), one.set.as_str(), one.subset.as_deref()), ("a", "made up", Some("why")));
    assert_eq!(one.labelled, Labelled::Score { label: 2.3333, scale, length: 7 });
    let body = json!({
        "instruction": "Why?", "response": "Ünd so.", "reference_answer": "Thus.",
        "rubric": {"criterion": "Is it right?", "descriptions": {"1": "No.", "2": "Partly.", "3": "Yes."}},
    });
    assert_eq!(Value::Object(one.body.clone()), body);
    assert_eq!((pair.id.as_str(), pair.set.as_str(), pair.subset.as_deref()), ("things-2", "things", Some("length")));
    let votes = vec![Preference::A, Preference::B, Preference::Tie];
    assert_eq!(pair.labelled, Labelled::Pair { label: Preference::Tie, votes, lengths: [3, 5], chosen: None });
    assert!(pair.place.ends_with("things.jsonl:2") && pair.instruction.contains("\"user\""));
}

#[test]
fn a_scale_comes_from_the_item_or_from_its_rubric() {
    let folder = Folder::new();
    let check = |more: Value, expected: Option<&[i32]>| {
        let mut item = json!({"instruction": "Why?", "response": "So.", "label": 2});
        item.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let Labelled::Score { scale, .. } = folder.first("a.jsonl", item.to_string(), "").labelled else {
            panic!("a score")
        };
        assert_eq!(scale, expected.map(|levels| Scale::from_levels(levels).unwrap()), "{item}");
    };
    check(json!({}), None);
    check(json!({"rubric": "helpfulness"}), None);
    check(json!({"rubric": rubric()}), Some(&[1, 2, 3]));
    check(json!({"rubric": rubric(), "scale": [0, 4]}), Some(&[0, 1, 2, 3, 4]));
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    let folder = Folder::new();
    let check = |item: Value, expected: &str| {
        let good = json!({"id": "good", "instruction": "Why?", "response": "So.", "label": 2});
        let error = folder.read("a.jsonl", lines(&[good, item.clone()]), "").unwrap_err();
        assert!(error.contains(expected) && error.contains("a.jsonl:2: "), "{item}: {error}");
    };
    check(json!({"response": "So.", "label": 2}), "--map instruction=NAME");
    check(json!({"instruction": "Why?", "label": 2}), "needs a response");
    check(json!({"instruction": "Why?", "response": "So.", "response_a": "a", "label": 2}), "needs a response");
    check(json!({"instruction": "Why?", "response_a": "a", "label": "A"}), "or response_a and response_b");
    check(json!({"instruction": "Why?", "response": "So.", "label": "good"}), "is not a number");
    check(
        json!({"instruction": "Why?", "response": "So.", "label": 6, "scale": [1, 5]}),
        "not on its scale, which is 1 to 5",
    );
    check(json!({"instruction": "Why?", "response": "So.", "label": 6, "scale": 5}), "[lowest, highest]");
    check(json!({"instruction": "Why?", "response": "So.", "label": 6, "scale": [0, 100]}), "2 to 11 scores");
    check(json!({"instruction": "Why?", "response_a": "a", "response_b": "b", "label": "left"}), "--labels");
    check(
        json!({"instruction": "Why?", "response_a": "a", "response_b": "b", "label": "A", "votes": "A"}),
        "not a list",
    );
    check(json!({"id": "good", "instruction": "Why?", "response": "So.", "label": 2}), "has the id `good` of");
    check(json!({"prompt": "Why?", "chosen": ["a", "b"], "rejected": "c"}), "one pair of responses per line");
    check(json!({"chosen": "a", "rejected": "c"}), "has no prompt");
    check(json!({"orig_instruction": "Why?", "orig_response": "So.", "orig_score": 3}), "orig_score1_description");
    let check = |name: &str, text: &[u8], expected: &str| {
        let error = folder.read(name, text, "").unwrap_err();
        assert!(error.contains(expected), "{error}");
    };
    check("a.jsonl", b"{\n", "a.jsonl:1: ");
    check("a.jsonl", b"\n\n", "has no items");
    check("a.jsonl", b"\xff\xfe{\0", "UTF-16");
    check("a.jsonl", b"{}\n{\"a\": \"\xff\"}", "a.jsonl:2: is not UTF-8");
    check("a.json", b"[{}, 1]", "a.json: item 2: is not a JSON object");
    check("a.csv", b"a,a\n1,2\n", "two columns named `a`");
    check("a.csv", b"a,b\n1\n", "a.csv:2");
    check("a.parquet", b"PAR1", "a.parquet: ");
    let numbers = [0, 1].map(|label| json!({"instruction": "?", "response_a": "a", "response_b": "b", "label": label}));
    check("a.jsonl", lines(&numbers).as_bytes(), "0 and 1 could be a tie and A, or A and B");
}

#[test]
fn items_without_a_label_are_counted_and_left_out() {
    let folder = Folder::new();
    let item = |id: usize, label: Value| json!({"id": id, "instruction": "Why?", "response": "So.", "label": label});
    let pair = |more: Value| {
        let mut pair = json!({"instruction": "Why?", "response_a": "So.", "response_b": "Thus."});
        pair.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        pair
    };
    let collection = |more: Value| {
        let mut row = json!({
            "orig_instruction": "Why?", "orig_criteria": "Right?", "orig_score1_description": "No.",
            "orig_score2_description": "Yes.",
        });
        row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        row
    };
    let check = |rows: &[Value], labelled: usize, unlabelled: usize| {
        let file = folder.read("a.jsonl", lines(rows), "").unwrap();
        assert_eq!((file.items.len(), file.unlabelled), (labelled, unlabelled), "{rows:?}");
    };
    let without = json!({"instruction": "Why?", "response": "So."});
    check(&[item(1, json!(2)), item(2, json!(null)), item(3, json!(" ")), item(4, json!(3)), without.clone()], 2, 3);
    check(&[pair(json!({"label": "A"})), pair(json!({})), pair(json!({"label": null, "votes": ["A"]}))], 1, 2);
    check(
        &[
            collection(json!({"orig_response": "So.", "orig_score": 2})),
            collection(json!({"orig_response": "So."})),
            collection(json!({"orig_response_A": "So.", "orig_response_B": "Hm."})),
        ],
        1,
        2,
    );
    let file = folder.read("a.csv", "instruction,response,label\nWhy?,So.,\nHow?,So.,4\n", "").unwrap();
    assert_eq!((file.items.len(), file.unlabelled), (1, 1));
    let check = |rows: &[Value], expected: &str| {
        let error = folder.read("a.jsonl", lines(rows), "").unwrap_err();
        assert!(error.contains(expected) && error.contains("--map label=NAME"), "{error}");
    };
    check(&[item(1, json!(null)), item(2, json!(""))], "a.jsonl: none of its 2 items has a label");
    check(&[without], "a.jsonl: its item has no label");
    // A label that cannot be read is an error, as before.
    assert!(folder.read("a.jsonl", lines(&[item(1, json!(2)), item(2, json!("good"))]), "").is_err());
}

#[test]
fn ids_are_different_over_all_files() {
    let folder = Folder::new();
    let item = json!({"id": 7, "instruction": "Why?", "response": "So.", "label": 2}).to_string();
    let (one, other) = (folder.write("one.jsonl", &item), folder.write("other.jsonl", &item));
    let error = super::read(&[one, other], &Mapping::default()).unwrap_err().to_string();
    assert!(error.contains("other.jsonl:1: has the id `7` of") && error.contains("one.jsonl:1"), "{error}");
}

#[test]
fn tables_have_columns_that_nobody_knows_as_notes() {
    let folder = Folder::new();
    let text =
        "\u{feff}question,answer,stars,subset,annotator\r\n\"Why,\nthen?\",So.,4,easy,me\r\nHow?,Thus.,2.5,,\r\n";
    let file = folder.read("a.csv", text, "instruction=question,response=answer,label=stars").unwrap();
    assert_eq!(file.format, "csv:gavel");
    assert_eq!(Value::Object(file.items[0].body.clone()), json!({"instruction": "Why,\nthen?", "response": "So."}));
    let about: Vec<_> = file.items.iter().map(|item| (item.subset.as_deref(), item.labelled.clone())).collect();
    let score = |label, length| Labelled::Score { label, scale: None, length };
    assert_eq!(about, [(Some("easy"), score(4.0, 3)), (None, score(2.5, 5))]);
    // The second item begins at the fourth line.
    assert!(file.items[1].place.ends_with("a.csv:4"), "{}", file.items[1].place);
    let error = folder.read("a.csv", text, "response=reply").unwrap_err();
    assert!(error.contains("a.csv:2: has no `reply`") && error.contains("question, answer"), "{error}");
    let pairs = "instruction,response_a,response_b,label,meta.bias\nWhy?,So.,Thus.,2,length\n";
    let item = folder.first("a.csv", pairs, "");
    assert_eq!((item.subset.as_deref(), item.body.len()), (Some("length"), 3));
}

/// A Parquet file with these columns of texts and numbers.
fn parquet(rows: &[(&str, &str, &str, f64)]) -> Vec<u8> {
    use parquet::data_type::{ByteArray, ByteArrayType, DoubleType};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    let schema = "message rows { required binary id (STRING); required binary instruction (STRING); required binary response (STRING); required double label; }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = WriterProperties::builder().set_compression(parquet::basic::Compression::SNAPPY).build();
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties)).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let texts = |of: fn(&(&str, &str, &str, f64)) -> String| {
        rows.iter().map(|row| ByteArray::from(of(row).as_str())).collect::<Vec<_>>()
    };
    for column in [texts(|row| row.0.into()), texts(|row| row.1.into()), texts(|row| row.2.into())] {
        let mut writer = group.next_column().unwrap().unwrap();
        writer.typed::<ByteArrayType>().write_batch(&column, None, None).unwrap();
        writer.close().unwrap();
    }
    let mut column = group.next_column().unwrap().unwrap();
    let labels: Vec<f64> = rows.iter().map(|row| row.3).collect();
    column.typed::<DoubleType>().write_batch(&labels, None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    bytes
}

#[test]
fn parquet_files_are_tables() {
    let folder = Folder::new();
    let file =
        folder.read("a.parquet", parquet(&[("x", "Why?", "So.", 4.0), ("y", "How?", "Thüs.", 2.5)]), "").unwrap();
    assert_eq!((file.format.as_str(), file.items.len()), ("parquet:gavel", 2));
    assert_eq!(file.items[1].labelled, Labelled::Score { label: 2.5, scale: None, length: 5 });
    assert_eq!((file.items[1].id.as_str(), file.items[1].body["instruction"].as_str()), ("y", Some("How?")));
    assert!(file.items[1].place.ends_with("a.parquet: row 2"));
}

#[test]
fn rewardbench_is_put_in_some_order() {
    let folder = Folder::new();
    let row = |i: usize| json!({"id": i, "prompt": format!("Question {i}?"), "chosen": "Yes.", "rejected": "Perhaps.", "subset": "easy"});
    let rows: Vec<Value> = (0..200).map(row).collect();
    let file = folder.read("filtered.jsonl", lines(&rows), "").unwrap();
    assert_eq!((file.format.as_str(), file.items[0].set.as_str()), ("rewardbench", "filtered"));
    let mut first = 0;
    for item in &file.items {
        let Labelled::Pair { label, lengths, chosen, .. } = &item.labelled else { panic!("a pair") };
        let (place, length) =
            if *label == Preference::A { ("response_a", lengths[0]) } else { ("response_b", lengths[1]) };
        assert_eq!((item.body[place].as_str(), length, chosen), (Some("Yes."), 4, &Some(*label)));
        assert_eq!(item.subset.as_deref(), Some("easy"));
        first += usize::from(*label == Preference::A);
    }
    assert!((70..130).contains(&first), "{first} of 200 chosen ones are A");
    // The same order in another file, and in another place of it.
    let reversed: Vec<Value> = rows.iter().rev().cloned().collect();
    let other = folder.read("other.jsonl", lines(&reversed), "").unwrap();
    let by_id = |file: &LabelledFile| {
        file.items.iter().map(|item| (item.id.clone(), item.body.clone())).collect::<HashMap<_, _>>()
    };
    assert_eq!(by_id(&file), by_id(&other));
}

#[test]
fn chosen_and_rejected_may_be_dialogues() {
    let folder = Folder::new();
    let message = |role: &str, content: &str| json!({"role": role, "content": content});
    let row = json!({
        "chosen": [message("user", "Why?"), message("assistant", "So.")],
        "rejected": [message("user", "Why?"), message("assistant", "Thus.")],
    });
    let item = folder.first("a.jsonl", row.to_string(), "");
    assert_eq!(item.instruction, "Why?");
    let row = json!({"prompt": [message("system", "Be brief."), message("user", "Why?")], "chosen": "So.", "rejected": "Thus."});
    let item = folder.first("a.jsonl", row.to_string(), "");
    assert_eq!(item.body["instruction"].as_array().map(Vec::len), Some(2));
}

#[test]
fn the_forms_of_prometheus_eval_are_read() {
    let folder = Folder::new();
    let collection = |more: Value| {
        let mut row = json!({
            "instruction": "###Task: all of it", "orig_instruction": "Why?", "orig_reference_answer": "Thus.", "orig_criteria": "Right?",
            "orig_score1_description": "No.", "orig_score2_description": "Yes.",
        });
        row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        row.to_string()
    };
    let body = json!({
        "instruction": "Why?", "reference_answer": "Thus.",
        "rubric": {"criterion": "Right?", "descriptions": {"1": "No.", "2": "Yes."}}, "response": "So.",
    });
    let scale = Scale::from_levels(&[1, 2]).ok();
    let item = folder.first("a.jsonl", collection(json!({"orig_response": "So.", "orig_score": "2"})), "");
    assert_eq!(
        (Value::Object(item.body), item.labelled),
        (body.clone(), Labelled::Score { label: 2.0, scale, length: 3 })
    );
    let pair = json!({"orig_response_A": "So.", "orig_response_B": "Hm.", "orig_preference": "B"});
    let item = folder.first("a.jsonl", collection(pair), "");
    let Labelled::Pair { label, .. } = item.labelled else { panic!("a pair") };
    assert_eq!((label, item.body["response_b"].as_str()), (Preference::B, Some("Hm.")));
    let prompt = |response: &str| {
        format!(
            "###Task Description:\nJudge.\n\n###The instruction to evaluate:\nWhy?\n\n###Response to evaluate:\n{response}\n\n\
                 ###Reference Answer (Score 5):\nThus.\n\n###Score Rubrics:\n[Right?]\nScore 1: No.\nScore 2: Yes.\n\n###Feedback: "
        )
    };
    let row = json!([{"instruction": prompt("So."), "gpt4_score": [1, 2, 2, 2], "category": "why"}]);
    let file = folder.read("bench.json", row.to_string(), "").unwrap();
    let item = &file.items[0];
    assert_eq!(
        (file.format.as_str(), item.id.as_str(), item.subset.as_deref()),
        ("prometheus-eval", "bench-1", Some("why"))
    );
    assert_eq!(
        (Value::Object(item.body.clone()), &item.labelled),
        (body, &Labelled::Score { label: 1.75, scale, length: 3 })
    );
    let row = json!({"chosen_instruction": prompt("So."), "rejected_instruction": prompt("Hm."), "source": "harmless"});
    let item = folder.first("a.jsonl", row.to_string(), "");
    let Labelled::Pair { label, .. } = item.labelled else { panic!("a pair") };
    let chosen = if label == Preference::A { "response_a" } else { "response_b" };
    assert_eq!((item.body[chosen].as_str(), item.subset.as_deref()), (Some("So."), Some("harmless")));
}

proptest! {
    #[test]
    fn no_bytes_break_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0_usize..4) {
        let name = ["a.jsonl", "a.json", "a.csv", "a.parquet"][kind];
        let _ = rows(Path::new(name), bytes);
    }

    #[test]
    fn no_fields_break_the_reader(
        names in prop::collection::vec(prop::sample::select(vec![
            "id", "instruction", "response", "response_a", "response_b", "label", "votes", "scale", "meta", "rubric", "chosen",
            "rejected", "prompt", "orig_instruction", "orig_score1_description", "orig_criteria", "gpt4_score", "chosen_instruction",
        ]), 0..8),
        values in prop::collection::vec(prop::sample::select(vec![
            json!(null), json!("A"), json!(1), json!([1, 5]), json!({}), json!({"descriptions": {"1": 2}}), json!([]), json!([{}]),
        ]), 8),
    ) {
        let row: Map<String, Value> = names.into_iter().map(str::to_owned).zip(values).collect();
        let folder = Folder::new();
        let _ = folder.read("a.jsonl", Value::Object(row).to_string(), "");
    }
}

#[test]
fn labels_of_some_items_are_read_beside_rows_that_are_none() {
    let folder = Folder::new();
    let item = |id: &str, label: Value| json!({"id": id, "instruction": "Why?", "response": "So.", "label": label});
    let read = |rows: &[Value], ids: &[&str]| {
        let path = folder.write("a.jsonl", format!("{{\n{}", lines(rows)));
        let file = read_labelled(&path, &Mapping::default(), ids.iter().copied().collect());
        file.map(|file| file.map_or(0, |file| file.items.len())).map_err(|error| error.to_string())
    };
    let rows = [item("a", json!(1)), item("b", json!("red")), item("a", json!(2)), item("c", json!(3))];
    assert_eq!(read(&rows, &["a", "c"]), Ok(2));
    assert_eq!(read(&rows, &["d"]), Ok(0));
    assert!(read(&rows, &["a", "b"]).unwrap_err().contains("a.jsonl:3: its label"));
}
