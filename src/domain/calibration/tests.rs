//! Properties of maps and files, and fits against scikit-learn and scipy (tests/calibration/fixture.py).

use proptest::prelude::*;
use serde_json::Value;

use super::fitting::{calibrate_absolute, calibrate_pairs, fit_absolute, fit_pairs, fit_reward_model};
use super::linear::Rows;
use super::*;
use crate::domain::judgement::{Kind, Mode};
use crate::domain::verdict::on_grid;

fn fixture(name: &str) -> Value {
    let all: Value = serde_json::from_str(include_str!("../../../tests/calibration/fixture.json")).unwrap();
    all[name].clone()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn rows(value: &Value) -> Vec<Vec<f64>> {
    value.as_array().unwrap().iter().map(numbers).collect()
}

fn close(found: &[f64], expected: &[f64]) {
    let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-6 * (1.0 + b.abs());
    assert!(found.len() == expected.len() && found.iter().zip(expected).all(near), "{found:?}\n{expected:?}");
}

fn one_hot(level: usize, levels: usize) -> Vec<f64> {
    (0..levels).map(|other| f64::from(u8::from(other == level))).collect()
}

#[test]
fn isotonic_regression_is_that_of_scikit_learn() {
    let of = fixture("isotonic");
    let points: Vec<(f64, f64)> = numbers(&of["x"]).into_iter().zip(numbers(&of["y"])).collect();
    let knots = isotonic::fit(&points);
    let found: Vec<f64> = numbers(&of["at"]).into_iter().map(|x| isotonic::at(&knots, x)).collect();
    close(&found, &numbers(&of["predicted"]));
}

#[test]
fn temperatures_are_those_of_scikit_learn_and_scipy() {
    let of = fixture("pair_temperature");
    let labelled = numbers(&of["p"]).into_iter().zip(numbers(&of["y"]));
    let examples: Vec<_> = labelled.map(|(p, y)| (vec![p, 1.0 - p], vec![y, 1.0 - y])).collect();
    close(&[temperature::fit(&examples)], &[of["temperature"].as_f64().unwrap()]);
    let of = fixture("score_temperature");
    let labels = numbers(&of["labels"]).into_iter().map(|label| one_hot(label as usize, 5));
    let examples: Vec<_> = rows(&of["p"]).into_iter().zip(labels).collect();
    close(&[temperature::fit(&examples)], &[of["temperature"].as_f64().unwrap()]);
}

#[test]
fn proportional_odds_are_those_of_scipy() {
    let of = fixture("ordinal");
    let labels = numbers(&of["labels"]).into_iter().map(|label| one_hot(label as usize, 4));
    let examples: Vec<_> = numbers(&of["x"]).into_iter().zip(labels).collect();
    let odds = ordinal::fit(&examples).unwrap();
    close(&[odds.slope], &[of["slope"].as_f64().unwrap()]);
    close(&odds.thresholds, &numbers(&of["thresholds"]));
}

#[test]
fn linear_models_are_those_of_scikit_learn() {
    let read = |of: &Value| Rows { x: rows(&of["x"]), y: numbers(&of["y"]) };
    let of = fixture("bradley_terry");
    close(&linear::bradley_terry(&read(&of), of["ridge"].as_f64().unwrap()).unwrap(), &numbers(&of["weights"]));
    for (name, fit) in
        [("ridge_regression", linear::ridge_regression as fn(&Rows, f64) -> _), ("logistic", linear::logistic)]
    {
        let of = fixture(name);
        let (intercept, weights) = fit(&read(&of), of["ridge"].as_f64().unwrap()).unwrap();
        close(&weights, &numbers(&of["weights"]));
        close(&[intercept], &[of["intercept"].as_f64().unwrap()]);
    }
}

fn probability() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), Just(0.5), Just(1.0), 0.0..1.0f64].prop_map(on_grid)
}

prop_compose! {
    fn pair()(ab in probability(), ba in probability(), masses in prop::array::uniform2(0.0..1.0f64),
              characters in prop::array::uniform2(0_usize..5000)) -> RawPair {
        let orders = [(ab, masses[0]), (ba, masses[1])];
        RawPair {
            probability_a: on_grid(f64::midpoint(ab, ba)),
            orders: orders.map(|(probability_a, label_mass)| RawOrder { probability_a, label_mass }),
            characters,
        }
    }
}

prop_compose! {
    fn response()(masses in prop::collection::vec(0.001..1.0f64, 5), label_mass in 0.0..1.0f64,
                  characters in 0_usize..5000) -> RawAbsolute {
        let sum: f64 = masses.iter().sum();
        let probabilities: Vec<f64> = masses.iter().map(|mass| mass / sum).collect();
        let reward = probabilities.iter().zip(0_u32..).map(|(p, level)| p * f64::from(level)).sum::<f64>() / 4.0;
        RawAbsolute { probabilities, reward, label_mass, characters }
    }
}

/// A number of any size.
fn number() -> impl Strategy<Value = f64> {
    (-1.0..1.0f64, -30..30_i32).prop_map(|(mantissa, exponent)| mantissa * 10f64.powi(exponent))
}

fn labels(levels: u8) -> impl Strategy<Value = f64> {
    (0..=levels).prop_map(move |level| f64::from(level) / f64::from(levels))
}

fn labelled<R: std::fmt::Debug>(raw: impl Strategy<Value = R>, levels: u8) -> impl Strategy<Value = Labelled<R>> {
    (raw, labels(levels)).prop_map(|(raw, label)| Labelled { raw, label })
}

fn file(kind: Kind, object: CalibrationObject, parameters: Parameters) -> Content {
    Content {
        object,
        version: 1,
        kind,
        made_for: MadeFor {
            model: format!("sha256:{:064}", 1),
            prompt: format!("sha256:{:064}", 2),
            rubrics: Some(vec![format!("sha256:{:064}", 3)]),
            mode: Some(Mode::Score),
        },
        parameters,
        data: vec![DataSource { name: "labels.jsonl".into(), sha256: "sha256:00".into(), items: 20 }],
        held_out: HeldOut { items: 10, after: Figures { ece: 1.0 / 3.0, ..Figures::default() }, ..HeldOut::default() },
        created: "2026-01-02T03:04:05Z".into(),
    }
}

/// Parsing what was written gives the same file.
fn round_trips(kind: Kind, parameters: Parameters) {
    let object = if parameters.is_fit() { CalibrationObject::Fit } else { CalibrationObject::Calibration };
    let made = CalibrationFile::new(file(kind, object, parameters)).unwrap();
    assert_eq!(CalibrationFile::parse(&made.to_json()).unwrap(), made);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn maps_of_pairs_give_exactly_the_complement_of_the_exchanged_pair(
        examples in prop::collection::vec(labelled(pair(), 2), 10..40), asked in pair(),
    ) {
        let folds: Vec<usize> = (0..examples.len()).map(|i| i % 5).collect();
        let maps = [
            calibrate_pairs(MapMethod::Temperature, &examples).unwrap(),
            calibrate_pairs(MapMethod::Isotonic, &examples).unwrap(),
            fit_pairs(&examples, &folds).unwrap().0,
        ];
        for map in maps {
            let p = map.probability_a(&asked);
            prop_assert!((0.0..=1.0).contains(&p));
            prop_assert_eq!(map.probability_a(&asked.exchanged()), 1.0 - p, "{:?}", map);
            round_trips(Kind::Relative, map);
        }
    }

    #[test]
    fn calibrations_of_pairs_keep_their_order(
        examples in prop::collection::vec(labelled(pair(), 2), 10..40), a in pair(), b in pair(),
    ) {
        for method in [MapMethod::Temperature, MapMethod::Isotonic] {
            let map = calibrate_pairs(method, &examples).unwrap();
            let (less, more) = if a.probability_a <= b.probability_a { (&a, &b) } else { (&b, &a) };
            // Up to a step of the grid.
            prop_assert!(map.probability_a(less) <= map.probability_a(more) + 1e-11, "{:?}", map);
        }
    }

    #[test]
    fn rewards_stay_in_range_and_isotonic_maps_rise(
        examples in prop::collection::vec(labelled(response(), 4), 10..40), a in response(), b in response(),
    ) {
        let folds: Vec<usize> = (0..examples.len()).map(|i| i % 5).collect();
        let isotonic = calibrate_absolute(MapMethod::Isotonic, &examples).unwrap();
        let (less, more) = if a.reward <= b.reward { (&a, &b) } else { (&b, &a) };
        prop_assert!(isotonic.reward(less) <= isotonic.reward(more) + 1e-12);
        let others = [
            calibrate_absolute(MapMethod::Temperature, &examples).unwrap(),
            calibrate_absolute(MapMethod::Ordinal, &examples).unwrap(),
            fit_absolute(&examples, &folds).unwrap().0,
        ];
        for map in others.into_iter().chain([isotonic]) {
            prop_assert!((0.0..=1.0).contains(&map.reward(&a)), "{:?}", map);
            round_trips(Kind::Absolute, map);
        }
    }

    #[test]
    fn a_reward_model_prefers_by_the_difference_of_its_log_odds(
        examples in prop::collection::vec(labelled(prop::array::uniform2(response()), 2), 10..40),
        a in response(), b in response(),
    ) {
        let folds: Vec<usize> = (0..examples.len()).map(|i| i % 5).collect();
        let (map, left_out) = fit_reward_model(&examples, &folds).unwrap();
        prop_assert_eq!(left_out.len(), examples.len());
        let p = map.preferred_alone(&[a.clone(), b.clone()]);
        prop_assert_eq!(map.preferred_alone(&[b.clone(), a.clone()]), 1.0 - p);
        let rewards = [&a, &b].map(|raw| map.reward(raw));
        prop_assert!(rewards.iter().all(|reward| (0.0..=1.0).contains(reward)));
        prop_assert!((rewards[0] - rewards[1]) * (p - 0.5) >= 0.0, "{:?} {}", rewards, p);
        // Rewards of the pairs that it was fitted to lie around one half.
        let log_odds: f64 = examples.iter().flat_map(|example| &example.raw).filter_map(|raw| map.log_odds(raw)).sum();
        prop_assert!(log_odds.abs() < 1e-6 * examples.len() as f64);
        round_trips(Kind::Absolute, map);
    }

    #[test]
    fn any_numbers_survive_a_file(slope in number(), thresholds in prop::collection::vec(number(), 1..10)) {
        let mut thresholds = thresholds;
        thresholds.sort_by(f64::total_cmp);
        let ordinal = Parameters::Ordinal { slope, thresholds };
        let made = CalibrationFile::new(file(Kind::Absolute, CalibrationObject::Calibration, ordinal));
        if let Ok(made) = made {
            prop_assert_eq!(CalibrationFile::parse(&made.to_json()), Ok(made));
        }
    }

    #[test]
    fn no_text_breaks_the_parser(text in ".{0,200}") {
        prop_assert!(CalibrationFile::parse(&text).is_err());
    }
}

#[test]
fn a_file_is_read_strictly() {
    let made = CalibrationFile::new(file(
        Kind::Relative,
        CalibrationObject::Calibration,
        Parameters::Temperature { temperature: 2.0 },
    ))
    .unwrap();
    let text = made.to_json();
    let check = |from: &str, to: &str, word: &str| {
        assert!(text.contains(from), "{from} in {text}");
        let error = CalibrationFile::parse(&text.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.contains(word), "{from} -> {to}: {error}");
    };
    check("\"version\": 1", "\"version\": 2", "version 2 of the format");
    check("\"version\": 1", "\"version\": \"one\"", "version");
    check("\"temperature\": 2.0", "\"temperature\": 3.0", "was changed after it was made");
    check("\"temperature\": 2.0", "\"temperature\": 0.0", "between 0.01 and 100");
    check("\"temperature\": 2.0", "\"temperature\": 2.0, \"bias\": 1.0", "bias");
    check("\"temperature\": 2.0", "\"temp\": 2.0", "temp");
    check("\"method\": \"temperature\"", "\"method\": \"magic\"", "magic");
    check("\"gavel.calibration\"", "\"gavel.fit\"", "/parameters/method");
    check("\"gavel.calibration\"", "\"gavel.rubric\"", "gavel.rubric");
    check("\"kind\": \"relative\"", "\"kind\": \"pairwise\"", "pairwise");
    check("\"digest\"", "\"digests\"", "digest");
    check("\"items\": 20", "\"items\": -1", "items");
    check("{", "[", "");
    // When it was made is no part of the digest.
    assert_eq!(CalibrationFile::parse(&text.replace("2026-01-02", "2027-01-02")).unwrap().digest(), made.digest());
    assert!(text.len() < 2000, "kilobytes");
}

#[test]
fn a_file_for_something_else_names_both() {
    let temperature = Parameters::Temperature { temperature: 2.0 };
    let made = CalibrationFile::new(file(Kind::Relative, CalibrationObject::Calibration, temperature)).unwrap();
    let [one, two, three, four] = [1, 2, 3, 4].map(|n| format!("sha256:{n:064}"));
    let check = |model: &str, prompt: &str, expected: Option<(&str, &str)>| {
        let error = made.check(model, ("plain/relative", prompt)).err().map(|error| error.to_string());
        match (error, expected) {
            (None, None) => {}
            (Some(error), Some((a, b))) => assert!(error.contains(a) && error.contains(b), "{error}"),
            other => panic!("{other:?}"),
        }
    };
    check(&one, &two, None);
    check(&four, &two, Some((&one, &four)));
    check(&one, &four, Some((&two, &four)));
    assert_eq!(made.check_rubric(&three), Ok(()));
    assert!(made.check_rubric(&four).is_err());
}
