//! Text similarity from 0 to 1, over the words in lower case.

use std::collections::HashMap;
use std::hash::Hash;

use rust_stemmers::{Algorithm, Stemmer};
use serde::{Deserialize, Serialize};

/// A measure of similarity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names are those of the measures; `similarity` says what each is")]
pub enum Metric {
    Cosine,
    FuzzyMatch,
    Bleu,
    Gleu,
    Meteor,
    #[serde(rename = "rouge_1")]
    Rouge1,
    #[serde(rename = "rouge_2")]
    Rouge2,
    #[serde(rename = "rouge_3")]
    Rouge3,
    #[serde(rename = "rouge_4")]
    Rouge4,
    #[serde(rename = "rouge_5")]
    Rouge5,
    RougeL,
}

/// Maximum length of each text, in bytes: about a second of work, which cannot be cancelled.
pub const LONGEST_COMPARED: usize = 1 << 20;
/// Maximum n of the n-grams of BLEU and GLEU.
const LONGEST_GRAM: usize = 4;
/// Maximum product of the lengths of two texts (characters or words) that are aligned.
const MOST_CELLS: usize = 1 << 28;

/// The similarity of `text` to `reference`. `None` if the texts are too long for the metric.
///
/// - cosine: of word counts; the original uses embeddings, which a judge model does not have
/// - fuzzy match: twice the longest common subsequence of characters over both lengths, as rapidfuzz's `ratio`
/// - BLEU (Papineni et al. 2002) of one sentence, n-grams up to 4, smoothed by one above unigrams (Lin and Och 2004)
/// - GLEU (Wu et al. 2016), the minimum of precision and recall over all n-grams up to 4
/// - METEOR (Banerjee and Lavie 2005) with exact and stem matches, α 0.9, β 3, γ 0.5; without synonyms
/// - ROUGE-N and ROUGE-L (Lin 2004), F1
#[must_use]
pub fn similarity(metric: Metric, text: &str, reference: &str) -> Option<f64> {
    if text.len().max(reference.len()) > LONGEST_COMPARED {
        return None;
    }
    if metric == Metric::FuzzyMatch {
        let [a, b] = [text, reference].map(|text| text.chars().collect::<Vec<_>>());
        return f1_of_subsequence(&a, &b);
    }
    let [a, b] = [text, reference].map(words);
    match metric {
        Metric::Cosine => Some(cosine(&a, &b)),
        Metric::FuzzyMatch | Metric::RougeL => f1_of_subsequence(&a, &b),
        Metric::Bleu => Some(bleu(&a, &b)),
        Metric::Gleu => Some(gleu(&a, &b)),
        Metric::Meteor => Some(meteor(&a, &b)),
        Metric::Rouge1 => Some(rouge(&a, &b, 1)),
        Metric::Rouge2 => Some(rouge(&a, &b, 2)),
        Metric::Rouge3 => Some(rouge(&a, &b, 3)),
        Metric::Rouge4 => Some(rouge(&a, &b, 4)),
        Metric::Rouge5 => Some(rouge(&a, &b, 5)),
    }
}

pub(super) fn words(text: &str) -> Vec<String> {
    let text = text.to_lowercase();
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// The count of each n-gram.
fn grams<T: Hash + Eq>(items: &[T], n: usize) -> HashMap<&[T], usize> {
    let mut counts = HashMap::new();
    items.windows(n).for_each(|gram| *counts.entry(gram).or_insert(0) += 1);
    counts
}

/// The number of common n-grams, each counted as often as it is in both texts.
fn shared(a: &[String], b: &[String], n: usize) -> usize {
    let other = grams(b, n);
    grams(a, n).into_iter().map(|(gram, count)| count.min(other.get(gram).copied().unwrap_or(0))).sum()
}

fn count(items: &[String], n: usize) -> usize {
    (items.len() + 1).saturating_sub(n)
}

fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

fn cosine(a: &[String], b: &[String]) -> f64 {
    let (a, b) = (grams(a, 1), grams(b, 1));
    let dot: f64 = a.iter().map(|(word, n)| (*n * b.get(word).copied().unwrap_or(0)) as f64).sum();
    let norm = |counts: &HashMap<&[String], usize>| counts.values().map(|n| (n * n) as f64).sum::<f64>().sqrt();
    share(dot, norm(&a) * norm(&b)).min(1.0)
}

fn bleu(text: &[String], reference: &[String]) -> f64 {
    let orders = LONGEST_GRAM.min(text.len());
    if orders == 0 || shared(text, reference, 1) == 0 {
        return 0.0;
    }
    let log_precision = |n: usize| {
        let smooth = if n > 1 { 1.0 } else { 0.0 };
        ((shared(text, reference, n) as f64 + smooth) / (count(text, n) as f64 + smooth)).ln()
    };
    let precision = ((1..=orders).map(log_precision).sum::<f64>() / orders as f64).exp();
    let brevity = (1.0 - reference.len() as f64 / text.len() as f64).min(0.0).exp();
    precision * brevity
}

fn gleu(text: &[String], reference: &[String]) -> f64 {
    let total = |f: &dyn Fn(usize) -> usize| (1..=LONGEST_GRAM).map(f).sum::<usize>() as f64;
    let matches = total(&|n| shared(text, reference, n));
    share(matches, total(&|n| count(text, n)).max(total(&|n| count(reference, n))))
}

fn rouge(text: &[String], reference: &[String], n: usize) -> f64 {
    share(2.0 * shared(text, reference, n) as f64, (count(text, n) + count(reference, n)) as f64)
}

/// Twice the length of the longest common subsequence over both lengths.
fn f1_of_subsequence<T: PartialEq>(a: &[T], b: &[T]) -> Option<f64> {
    if a.len().saturating_mul(b.len()) > MOST_CELLS {
        return None;
    }
    let mut row = vec![0usize; b.len() + 1];
    for x in a {
        let mut diagonal = 0;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if x == y { diagonal + 1 } else { above.max(row[j]) };
            diagonal = above;
        }
    }
    Some(share(2.0 * row[b.len()] as f64, (a.len() + b.len()) as f64))
}

fn meteor(text: &[String], reference: &[String]) -> f64 {
    let stemmer = Stemmer::create(Algorithm::English);
    let stem = |word: &String| stemmer.stem(word).into_owned();
    let (stems, reference_stems): (Vec<_>, Vec<_>) =
        (text.iter().map(stem).collect(), reference.iter().map(stem).collect());
    let mut taken = vec![false; reference.len()];
    let mut matched: Vec<Option<usize>> = vec![None; text.len()];
    for (ours, theirs) in [(text, reference), (&stems[..], &reference_stems[..])] {
        let mut places: HashMap<&String, Vec<usize>> = HashMap::new();
        for (at, word) in theirs.iter().enumerate().rev().filter(|(at, _)| !taken[*at]) {
            places.entry(word).or_default().push(at);
        }
        for (at, word) in ours.iter().enumerate() {
            if let (None, Some(place)) = (matched[at], places.get_mut(word).and_then(Vec::pop)) {
                matched[at] = Some(place);
                taken[place] = true;
            }
        }
    }
    let pairs: Vec<(usize, usize)> =
        matched.iter().enumerate().filter_map(|(at, place)| Some((at, (*place)?))).collect();
    if pairs.is_empty() {
        return 0.0;
    }
    let matches = pairs.len() as f64;
    let (precision, recall) = (matches / text.len() as f64, matches / reference.len() as f64);
    let mean = precision * recall / (0.9 * precision + 0.1 * recall);
    let adjacent = pairs.windows(2).filter(|p| p[1].0 == p[0].0 + 1 && p[1].1 == p[0].1 + 1).count();
    let chunks = (pairs.len() - adjacent) as f64;
    mean * (1.0 - 0.5 * (chunks / matches).powi(3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Metric; 11] = [
        Metric::Cosine,
        Metric::FuzzyMatch,
        Metric::Bleu,
        Metric::Gleu,
        Metric::Meteor,
        Metric::Rouge1,
        Metric::Rouge2,
        Metric::Rouge3,
        Metric::Rouge4,
        Metric::Rouge5,
        Metric::RougeL,
    ];

    #[test]
    fn known_values() {
        let check = |metric: Metric, text: &str, reference: &str, expected: f64| {
            let found = similarity(metric, text, reference).unwrap();
            assert!((found - expected).abs() < 1e-9, "{metric:?} {text:?} {reference:?}: {found}");
        };
        let (a, b) = ("the cat sat on the mat", "the cat is on the mat");
        check(Metric::Rouge1, a, b, 5.0 / 6.0);
        check(Metric::Rouge2, a, b, 3.0 / 5.0);
        check(Metric::RougeL, a, b, 5.0 / 6.0);
        check(Metric::Cosine, "a b", "a c", 0.5);
        check(Metric::FuzzyMatch, "abcd", "abxd", 0.75);
        check(Metric::Gleu, a, b, (5.0 + 3.0 + 1.0 + 0.0) / 18.0);
        let bleu = ((5.0_f64 / 6.0).ln() + (4.0_f64 / 6.0).ln() + (2.0_f64 / 5.0).ln() + (1.0_f64 / 4.0).ln()) / 4.0;
        check(Metric::Bleu, a, b, bleu.exp());
        // Five of six words match, in two chunks.
        check(Metric::Meteor, a, b, 5.0 / 6.0 * (1.0 - 0.5 * (2.0_f64 / 5.0).powi(3)));
        check(Metric::Meteor, "cats running", "cat runs", 1.0 - 0.5 * (1.0_f64 / 2.0).powi(3));
        check(Metric::Bleu, "dog", "cat", 0.0);
        for metric in ALL {
            check(metric, "", "something", 0.0);
            assert_eq!(similarity(metric, &"a".repeat(LONGEST_COMPARED + 1), "a"), None, "{metric:?}");
        }
    }

    proptest! {
        #[test]
        fn all_are_shares(a in "[a-c ]{0,20}", b in "[a-c ]{0,20}") {
            for metric in ALL {
                let found = similarity(metric, &a, &b).unwrap();
                prop_assert!((0.0..=1.0 + 1e-12).contains(&found), "{:?}: {}", metric, found);
            }
        }

        #[test]
        fn a_text_is_like_itself(a in "([a-c]{1,3} ){6,9}") {
            for metric in ALL {
                prop_assert!(similarity(metric, &a, &a).unwrap() > 0.99, "{:?}", metric);
            }
        }
    }
}
