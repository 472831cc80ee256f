use std::path::PathBuf;

use super::*;

/// Files of items, in a folder of their own.
struct Folder(tempfile::TempDir);

impl Folder {
    fn read(&self, name: &str, text: &str, map: &str, asks: Asks) -> Result<Vec<Item>, String> {
        let path: PathBuf = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        let (options, settings) =
            (ItemOptions::default(), ItemSettings { map: map.parse().unwrap(), ..ItemSettings::default() });
        let reader = Reader { asks, kind: None, options: &options, settings: &settings, keep_input: true };
        reader.read(&path).map(|(items, _)| items).map_err(|error| error.to_string())
    }
}

fn folder() -> Folder {
    Folder(tempfile::tempdir().unwrap())
}

#[test]
fn columns_of_a_table_become_fields() {
    let text =
        "\u{feff}question,answer,gold,rubric,team\r\n\"Why,\nthen?\",So.,Thus.,honesty,red\r\nHow?,Thus.,,honesty,\r\n";
    let map = "instruction=question,response=answer,reference=gold";
    let items = folder().read("mine.csv", text, map, Asks::Grade).unwrap();
    let [one, two] = &items[..] else { panic!("two items") };
    assert_eq!((one.id.as_str(), two.id.as_str()), ("mine-1", "mine-2"));
    let body =
        json!({"instruction": "Why,\nthen?", "response": "So.", "reference_answer": "Thus.", "rubric": "honesty"});
    // The order of fields is that of the columns, and of no matter.
    assert_eq!(one.body, body);
    assert_eq!(two.body, json!({"instruction": "How?", "response": "Thus.", "rubric": "honesty"}));
    assert_eq!(one.input.as_ref().unwrap()["team"], "red");
}

#[test]
fn what_is_missing_or_unknown_is_said_with_what_there_is() {
    let check = |name: &str, text: &str, map: &str, asks: Asks, expected: &[&str]| {
        let error = folder().read(name, text, map, asks).err().unwrap_or_default();
        for part in expected {
            assert!(error.contains(part), "{text} {map}: {error}");
        }
    };
    let mine = r#"{"question": "Why?", "model_answer": "So.", "gold": "Thus.", "rubric": "honesty"}"#;
    check("a.jsonl", mine, "", Asks::Grade, &["a.jsonl:1: has no instruction", "it has question, model_answer, gold"]);
    let half = "instruction=question";
    check("a.jsonl", mine, half, Asks::Grade, &["has no response", "--map response=FIELD"]);
    let most = "instruction=question,response=model_answer";
    check("a.jsonl", mine, most, Asks::Grade, &["unknown field `gold`", "--map FIELD=gold", "--ignore-unknown"]);
    check("a.jsonl", mine, "response=nothing", Asks::Grade, &["has no `nothing`, which --map names", "model_answer"]);
    let typo = r#"{"instruction": "Why?", "response": "So.", "rubric": "honesty", "refrence_answer": "Thus."}"#;
    check("a.jsonl", typo, "", Asks::Grade, &["did you mean `reference_answer`?"]);
    check("a.csv", "instruction,response,rubrics\nWhy?,So.,honesty\n", "", Asks::Grade, &["did you mean `rubric`?"]);
    check("a.jsonl", r#"{"instruction": "Why?", "response": "So."}"#, "", Asks::Grade, &["--rubric"]);
    let one = r#"{"instruction": "Why?", "response": "So.", "rubric": "honesty"}"#;
    check("a.jsonl", one, "", Asks::Rank, &["has no list of responses"]);
    let twice = r#"{"id": 1, "instruction": "Why?", "response": "So.", "rubric": "honesty"}"#;
    check("a.jsonl", &format!("{twice}\n\n{twice}"), "", Asks::Grade, &["a.jsonl:3: has the id `1` of line 1;"]);
}

#[test]
fn documents_and_conversations_have_several_forms() {
    let check = |row: Value, expected: Value| {
        let items = folder().read("a.jsonl", &row.to_string(), "", Asks::Grade).unwrap();
        assert_eq!(items[0].body, expected, "{row}");
    };
    let turns = json!([{"role": "user", "content": "Why?"}]);
    check(
        json!({"instruction": turns, "response": "So.", "rubric": "honesty", "context": "A passage."}),
        json!({"messages": turns, "response": "So.", "rubric": "honesty", "context": [{"text": "A passage."}]}),
    );
}

#[test]
fn rollouts_of_trl_are_read_as_they_are() {
    let turns = json!([{"role": "user", "content": "Why?"}]);
    let said = |text: &str| json!([{"role": "assistant", "content": text}]);
    let check = |name: &str, text: &str, asks: Asks, expected: Value| {
        let items = folder().read(name, text, "", asks).unwrap();
        assert_eq!(items[0].body, expected, "{text}");
    };
    let one = json!({"prompt": turns, "completion": said("So."), "rubric": "honesty"});
    let expected = json!({"messages": turns, "response": "So.", "rubric": "honesty"});
    check("a.jsonl", &one.to_string(), Asks::Reward, expected.clone());
    check("a.jsonl", &one.to_string(), Asks::Grade, expected);
    let many = json!({"prompt": turns, "completions": [said("So."), said("Thus.")], "rubric": "honesty"});
    let expected = json!({"messages": turns, "responses": ["So.", "Thus."], "rubric": "honesty"});
    check("a.jsonl", &many.to_string(), Asks::Rank, expected.clone());
    check("a.jsonl", &many.to_string(), Asks::Preferences, expected);
    let table = "prompt,completions,rubric\nWhy?,\"[\"\"So.\"\", \"\"Thus.\"\"]\",honesty\n";
    let expected = json!({"instruction": "Why?", "responses": ["So.", "Thus."], "rubric": "honesty"});
    check("a.csv", table, Asks::Rank, expected);
    let wrong = json!({"prompt": turns, "completion": turns, "rubric": "honesty"});
    let error = folder().read("a.jsonl", &wrong.to_string(), "", Asks::Reward).err().unwrap();
    assert!(error.contains("a.jsonl:1: its response has a message of the role `user`"), "{error}");
}

#[test]
fn a_reward_is_asked_with_the_settings_of_its_item() {
    let item = json!({"instruction": "Why?", "response": "", "rubric": "honesty", "mode": "score"});
    let expected = json!({
        "rubric": "honesty", "mode": "score", "items": [{"instruction": "Why?", "response": ""}],
        "include": ["verdicts"],
    });
    assert_eq!(reward_request(&item), expected);
}
