//! Sampling from logits, reproducible by seed.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{SamplerSettings, Token};

/// Picks tokens from logits: greedy at temperature 0, else top-k, then temperature, top-p and min-p in the
/// order that llama.cpp and vLLM apply them.
#[derive(Debug, Clone)]
pub struct Sampler {
    settings: SamplerSettings,
    random: ChaCha8Rng,
}

impl Sampler {
    /// A sampler whose picks depend only on the settings and the logits.
    #[must_use]
    pub fn new(settings: SamplerSettings) -> Self {
        Self { settings, random: ChaCha8Rng::seed_from_u64(settings.seed) }
    }

    /// Picks a token that is not in `banned` and whose logit is above -∞; `None` if there is no such token. The logits
    /// must not contain NaN or +∞.
    pub fn pick(&mut self, logits: &[f32], banned: &[Token]) -> Option<Token> {
        let allowed = |id: usize| !banned.contains(&(id as Token)) && logits[id] > f32::NEG_INFINITY;
        if self.settings.temperature <= 0.0 {
            let best = logits
                .iter()
                .enumerate()
                .filter(|(id, _)| allowed(*id))
                .reduce(|best, next| if next.1 > best.1 { next } else { best });
            return best.map(|(id, _)| id as Token);
        }
        let mut kept: Vec<(Token, f32)> =
            logits.iter().enumerate().filter(|(id, _)| allowed(*id)).map(|(id, l)| (id as Token, *l)).collect();
        let by_logit = |a: &(Token, f32), b: &(Token, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if self.settings.top_k > 0 && self.settings.top_k < kept.len() {
            kept.select_nth_unstable_by(self.settings.top_k - 1, by_logit);
            kept.truncate(self.settings.top_k);
        }
        kept.sort_unstable_by(by_logit);
        let highest = kept.first()?.1;
        let weights: Vec<f64> =
            kept.iter().map(|(_, l)| f64::from((l - highest) / self.settings.temperature).exp()).collect();
        let total: f64 = weights.iter().sum();
        let mut cumulative = 0.0;
        let nucleus = weights.iter().take_while(|w| {
            let open = cumulative < f64::from(self.settings.top_p) * total;
            cumulative += **w;
            open && **w >= f64::from(self.settings.min_p)
        });
        let nucleus = nucleus.count().max(1);
        let mut point = self.random.random::<f64>() * weights[..nucleus].iter().sum::<f64>();
        let mut index = 0;
        while index + 1 < nucleus && point >= weights[index] {
            point -= weights[index];
            index += 1;
        }
        Some(kept[index].0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(temperature: f32) -> SamplerSettings {
        SamplerSettings { temperature, top_p: 1.0, top_k: 0, min_p: 0.0, seed: 7 }
    }

    fn counts(settings: SamplerSettings, logits: &[f32]) -> Vec<usize> {
        let mut sampler = Sampler::new(settings);
        let mut counts = vec![0; logits.len()];
        for _ in 0..4000 {
            counts[sampler.pick(logits, &[]).unwrap() as usize] += 1;
        }
        counts
    }

    #[test]
    fn greedy_takes_the_first_of_the_highest_and_heeds_bans() {
        let mut sampler = Sampler::new(settings(0.0));
        assert_eq!(sampler.pick(&[0.0, 3.0, 3.0], &[]), Some(1));
        assert_eq!(sampler.pick(&[0.0, 3.0, 3.0], &[1]), Some(2));
    }

    #[test]
    fn nothing_is_picked_where_nothing_may_be() {
        for temperature in [0.0, 1.0] {
            let mut sampler = Sampler::new(settings(temperature));
            assert_eq!(sampler.pick(&[0.0, f32::NEG_INFINITY, 1.0], &[0, 2]), None);
            assert_eq!(sampler.pick(&[], &[]), None);
        }
    }

    #[test]
    fn sampling_follows_the_probabilities() {
        let logits = [0.5f32.ln(), 0.3f32.ln(), 0.2f32.ln()];
        let seen = counts(settings(1.0), &logits);
        for (count, p) in seen.iter().zip([0.5, 0.3, 0.2]) {
            assert!((*count as f64 / 4000.0 - p).abs() < 0.03, "{seen:?}");
        }
        assert_eq!(seen, counts(settings(1.0), &logits), "the same seed, the same picks");
    }

    #[test]
    fn truncation_drops_the_tail() {
        let logits = [0.5f32.ln(), 0.3f32.ln(), 0.2f32.ln()];
        let check = |change: fn(&mut SamplerSettings), kept: usize| {
            let mut with = settings(1.0);
            change(&mut with);
            let seen = counts(with, &logits);
            assert_eq!(seen.iter().filter(|c| **c > 0).count(), kept, "{with:?}: {seen:?}");
        };
        check(|s| s.top_k = 2, 2);
        check(|s| s.top_p = 0.5, 1);
        check(|s| s.top_p = 0.6, 2);
        check(|s| s.min_p = 0.5, 2);
        check(|s| s.min_p = 1.0, 1);
    }
}
