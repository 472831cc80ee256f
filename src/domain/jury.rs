//! Juries: several judges of one request, and how their verdicts become one.
//!
//! A panel of several smaller judges agrees with people better than one large judge, and costs less (Verga et al. 2024,
//! "Replacing Judges with Juries").

mod ballots;

use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use sha2::{Digest, Sha256};

use super::annotator::Annotator;
use super::instruction::InvalidRequest;
use super::weight::Weight;

pub use ballots::{PairBallot, ScoreBallot, free_marginal_kappa, spread};

/// Maximum number of jurors: each one judges the whole request.
pub const MOST_JURORS: usize = 16;

/// Who judges a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Judges {
    /// One hosted model; `None` is the default one.
    One(Option<String>),
    /// Several jurors.
    Jury(Jury),
}

/// How the verdicts of jurors are combined. If all jurors say the same, so does the jury.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Combine {
    /// The mean of all jurors.
    #[default]
    Mean,
    /// The score or preference that most jurors have, and the mean of those jurors. Between equal numbers of votes, the
    /// mean of all jurors decides.
    Majority,
    /// The mean, with the weights of the jurors.
    Weighted,
}

/// Label noise: each juror's verdict is turned around with a probability, which mimics how people differ (Dubois et al.
/// 2023, "AlpacaFarm", section 3.3: 0.25).
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Noise {
    /// The probability, 0 to 1.
    pub flip: f64,
    /// The seed. Which verdicts are turned around depends on it, on the juror and on the judged texts.
    #[serde(default)]
    pub seed: u64,
}

/// A member of a jury.
#[derive(Debug, Clone, PartialEq)]
pub struct Juror {
    /// The hosted model.
    pub model: String,
    /// The prompt set, in place of that of the request.
    pub prompt: Option<String>,
    /// The persona, in place of that of the request.
    pub annotator: Option<Annotator>,
    /// With [`Combine::Weighted`], the weight relative to those of the other jurors; `None` is 1.
    pub weight: Option<Weight>,
}

/// A juror as requests and the configuration describe it: an object, or the name of a model alone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JurorSettings {
    /// A hosted model; `None` is the default one.
    pub model: Option<String>,
    /// A prompt set.
    pub prompt: Option<String>,
    /// An annotator: a name of the library, or a text.
    pub annotator: Option<String>,
    /// A weight.
    pub weight: Option<f64>,
}

/// Several judges of one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Jury {
    /// The name in the configuration; `None` for the jury of a request.
    pub name: Option<String>,
    /// The jurors, in the order of the reply.
    pub jurors: Vec<Juror>,
    /// How their verdicts are combined.
    pub combine: Combine,
    /// Minimum number of jurors with a verdict, 1 to the number of jurors.
    pub quorum: usize,
    /// Label noise, if any is asked for.
    pub noise: Option<Noise>,
}

/// What a jury may leave open.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct JuryRules {
    /// Default: weighted if a juror has a weight, else the mean.
    pub combine: Option<Combine>,
    /// Default: more than half of the jurors.
    pub quorum: Option<usize>,
    /// Default: none.
    pub noise: Option<Noise>,
}

impl<'de> Deserialize<'de> for JurorSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            model: Option<String>,
            prompt: Option<String>,
            annotator: Option<String>,
            weight: Option<f64>,
        }
        struct NameOrFields;
        impl<'de> Visitor<'de> for NameOrFields {
            type Value = JurorSettings;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a model, or a table with `model`, `prompt`, `annotator` and `weight`")
            }
            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<JurorSettings, E> {
                Ok(JurorSettings { model: Some(name.to_owned()), ..JurorSettings::default() })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<JurorSettings, A::Error> {
                let Fields { model, prompt, annotator, weight } = Fields::deserialize(MapAccessDeserializer::new(map))?;
                Ok(JurorSettings { model, prompt, annotator, weight })
            }
        }
        deserializer.deserialize_any(NameOrFields)
    }
}

impl From<&str> for JurorSettings {
    fn from(model: &str) -> Self {
        Self { model: Some(model.to_owned()), ..Self::default() }
    }
}

impl JurorSettings {
    /// The juror on a hosted model, with its annotator.
    ///
    /// # Errors
    /// At `/weight`, if that is out of range.
    pub fn seated(self, model: String, annotator: Option<Annotator>) -> Result<Juror, InvalidRequest> {
        let weight = self.weight.map(Weight::new).transpose();
        let weight = weight.map_err(|error| InvalidRequest::at("/weight", error.to_string()))?;
        Ok(Juror { model, prompt: self.prompt, annotator, weight })
    }
}

impl Juror {
    /// A name that tells it from other jurors: model, prompt set and annotator, as in `b/plain@parent`.
    #[must_use]
    pub fn name(&self) -> String {
        const LONGEST: usize = 24;
        let mut name = self.model.clone();
        self.prompt.iter().for_each(|prompt| name.push_str(&format!("/{prompt}")));
        match &self.annotator {
            Some(Annotator { name: Some(annotator), .. }) => name.push_str(&format!("@{annotator}")),
            Some(Annotator { name: None, profile }) if profile.chars().count() <= LONGEST => {
                name.push_str(&format!("@{profile}"));
            }
            Some(Annotator { name: None, profile }) => {
                let begin: String = profile.chars().take(LONGEST).collect();
                let digest = format!("{:x}", Sha256::digest(profile.as_bytes()));
                name.push_str(&format!("@{begin}…{}", &digest[..8]));
            }
            None => {}
        }
        name
    }
}

impl Jury {
    /// A checked jury.
    ///
    /// # Errors
    /// At `/judges`, `/combine`, `/quorum` or `/noise`: without jurors, with more than [`MOST_JURORS`] or two equal
    /// ones, with weights that would not count, or a quorum that cannot be met.
    pub fn new(name: Option<String>, jurors: Vec<Juror>, rules: JuryRules) -> Result<Self, InvalidRequest> {
        let count = jurors.len();
        if count == 0 {
            return Err(InvalidRequest::at("/judges", "is empty; name at least one judge"));
        }
        if count > MOST_JURORS {
            let reason = format!("a jury has at most {MOST_JURORS} jurors, this one has {count}");
            return Err(InvalidRequest::at("/judges", reason));
        }
        let mut seen = HashSet::new();
        if let Some(index) = jurors.iter().position(|juror| !seen.insert(juror.name())) {
            let reason = "has the model, the prompt set and the annotator of a juror before it; to count a juror more \
                          than once, give it a weight";
            return Err(InvalidRequest::at(format!("/judges/{index}"), reason));
        }
        let weighted = jurors.iter().position(|juror| juror.weight.is_some());
        let default = if weighted.is_some() { Combine::Weighted } else { Combine::Mean };
        let combine = rules.combine.unwrap_or(default);
        if let (Some(index), Combine::Mean | Combine::Majority) = (weighted, combine) {
            let reason = "weights count only with \"combine\": \"weighted\"";
            return Err(InvalidRequest::at(format!("/judges/{index}/weight"), reason));
        }
        let quorum = rules.quorum.unwrap_or(count / 2 + 1);
        if !(1..=count).contains(&quorum) {
            let reason = format!("is {quorum}; it must be between 1 and {count}, the number of jurors");
            return Err(InvalidRequest::at("/quorum", reason));
        }
        rules.noise.map_or(Ok(()), Noise::check)?;
        Ok(Self { name, jurors, combine, quorum, noise: rules.noise })
    }

    /// The same jury with other rules, where any are given.
    ///
    /// # Errors
    /// Those of [`Jury::new`].
    pub fn with(self, rules: JuryRules) -> Result<Self, InvalidRequest> {
        let rules = JuryRules {
            combine: rules.combine.or(Some(self.combine)),
            quorum: rules.quorum.or(Some(self.quorum)),
            noise: rules.noise.or(self.noise),
        };
        Self::new(self.name, self.jurors, rules)
    }

    /// The weight of a juror; 1 unless weights count.
    #[must_use]
    pub fn weight(&self, juror: &Juror) -> f64 {
        match self.combine {
            Combine::Mean | Combine::Majority => 1.0,
            Combine::Weighted => juror.weight.unwrap_or(Weight::ONE).get(),
        }
    }
}

impl Combine {
    /// The name in requests and verdicts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Majority => "majority",
            Self::Weighted => "weighted",
        }
    }
}

impl Noise {
    fn check(self) -> Result<(), InvalidRequest> {
        if (0.0..=1.0).contains(&self.flip) {
            return Ok(());
        }
        Err(InvalidRequest::at("/noise/flip", format!("is {}; it must be between 0 and 1", self.flip)))
    }

    /// Whether the verdict of a juror on these texts is turned around. It is the same for the texts in any order, so
    /// that exchanging two responses changes nothing.
    #[must_use]
    pub fn flips(self, juror: &Juror, texts: &[impl AsRef<str>]) -> bool {
        let mut sorted: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
        sorted.sort_unstable();
        let mut hash = Sha256::new();
        hash.update(self.seed.to_le_bytes());
        let name = juror.name();
        for text in std::iter::once(name.as_str()).chain(sorted) {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        }
        let digest = hash.finalize();
        let first = u64::from_le_bytes(std::array::from_fn(|index| digest[index]));
        // 53 bits make a number in [0, 1) that is exact.
        ((first >> 11) as f64 / (1_u64 << 53) as f64) < self.flip
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn juror(model: &str) -> Juror {
        Juror { model: model.into(), prompt: None, annotator: None, weight: None }
    }

    #[test]
    fn a_jury_that_cannot_decide_names_its_fault() {
        let check = |jurors: Vec<Juror>, rules: JuryRules, expected: Result<(Combine, usize), &str>| {
            let jury = Jury::new(None, jurors, rules);
            let found = jury.as_ref().map(|jury| (jury.combine, jury.quorum));
            assert_eq!(found.map_err(|error| error.pointer.as_str()), expected);
        };
        let many = |count: usize| (0..count).map(|index| juror(&index.to_string())).collect::<Vec<_>>();
        let weighted = |weight| Juror { weight: Weight::new(weight).ok(), ..juror("w") };
        let rules = JuryRules::default();
        check(many(1), rules, Ok((Combine::Mean, 1)));
        check(many(2), rules, Ok((Combine::Mean, 2)));
        check(many(5), rules, Ok((Combine::Mean, 3)));
        check(vec![juror("a"), weighted(2.0)], rules, Ok((Combine::Weighted, 2)));
        check(many(16), JuryRules { quorum: Some(1), ..rules }, Ok((Combine::Mean, 1)));
        check(many(0), rules, Err("/judges"));
        check(many(17), rules, Err("/judges"));
        check(vec![juror("a"), juror("b"), juror("a")], rules, Err("/judges/2"));
        check(
            vec![juror("a"), weighted(2.0)],
            JuryRules { combine: Some(Combine::Mean), ..rules },
            Err("/judges/1/weight"),
        );
        check(many(3), JuryRules { quorum: Some(4), ..rules }, Err("/quorum"));
        check(many(3), JuryRules { quorum: Some(0), ..rules }, Err("/quorum"));
        for flip in [-0.1, 1.1, f64::NAN] {
            check(many(3), JuryRules { noise: Some(Noise { flip, seed: 0 }), ..rules }, Err("/noise/flip"));
        }
    }

    #[test]
    fn weights_count_if_asked() {
        let jurors = vec![juror("a"), Juror { weight: Weight::new(2.5).ok(), ..juror("b") }];
        let jury = Jury::new(None, jurors, JuryRules::default()).unwrap();
        assert_eq!(jury.jurors.iter().map(|juror| jury.weight(juror)).collect::<Vec<_>>(), [1.0, 2.5]);
        let jury = Jury { combine: Combine::Majority, ..jury };
        assert_eq!(jury.weight(&jury.jurors[1]), 1.0);
    }

    #[test]
    fn jurors_have_names_of_their_own() {
        let of = |annotator: Annotator| Juror { annotator: Some(annotator), ..juror("b") }.name();
        assert_eq!(Juror { prompt: Some("plain".into()), ..juror("b") }.name(), "b/plain");
        let parent = Annotator { name: Some("parent".into()), profile: "A parent of two.".into() };
        assert_eq!(of(parent), "b@parent");
        assert_eq!(of("a pirate".into()), "b@a pirate");
        let [one, other] = ["six", "nine"].map(|age| of(format!("A teacher of children who are {age}").into()));
        assert!(one.starts_with("b@A teacher of children wh…") && one != other, "{one} {other}");
    }

    #[test]
    fn noise_is_as_frequent_as_asked_and_repeats() {
        let noise = Noise { flip: 0.25, seed: 1 };
        let flipped = |noise: Noise, model: &str| -> Vec<bool> {
            (0..4000).map(|item: u32| noise.flips(&juror(model), &[&item.to_string(), "b"])).collect()
        };
        let found = flipped(noise, "a");
        let share = found.iter().filter(|flipped| **flipped).count() as f64 / found.len() as f64;
        // Four standard errors are 0.027.
        assert!((share - 0.25).abs() < 0.027, "{share}");
        assert_eq!(found, flipped(noise, "a"));
        assert_ne!(found, flipped(noise, "b"), "jurors err apart");
        assert_ne!(found, flipped(Noise { seed: 2, ..noise }, "a"));
        assert_eq!(noise.flips(&juror("a"), &["x", "y"]), noise.flips(&juror("a"), &["y", "x"]));
        assert!(!flipped(Noise { flip: 0.0, seed: 1 }, "a").contains(&true));
        assert!(!flipped(Noise { flip: 1.0, seed: 1 }, "a").contains(&false));
    }
}
