//! The option tree of a `Choose` step: options are paths of tokens with disjoint probability masses.

use super::Token;

/// The options of a choice as a tree of tokens.
///
/// The tokens that all options share are forced ([`OptionTree::forced`]); what remains is each option's path.
/// Where one option's path is a prefix of another's (`1` and `10`), its end means that no continuation follows:
/// P(1) = p(1) · (1 − Σ p(c | 1)) over the tokens c that continue an option, so the masses are disjoint.
#[derive(Debug, Clone)]
pub struct OptionTree {
    forced: Vec<Token>,
    nodes: Vec<Node>,
    options: usize,
}

#[derive(Debug, Clone, Default)]
struct Node {
    path: Vec<Token>,
    children: Vec<(Token, usize)>,
    option: Option<usize>,
    log_prefix: f64,
}

impl OptionTree {
    /// Builds the tree from each option's tokens, including those of the text before it.
    ///
    /// At least one token of every option stays in its path, so that `label_mass` measures how probable the options are
    /// at all. Options with the same tokens share a path; the first of them gets its mass.
    ///
    /// # Panics
    /// When there are no options, or one has no tokens.
    #[must_use]
    pub fn new(options: &[Vec<Token>]) -> Self {
        let first = &options[0];
        let shortest = options.iter().map(Vec::len).min().expect("a choice has options");
        let shared = (0..shortest - 1).take_while(|i| options.iter().all(|o| o[*i] == first[*i])).count();
        let mut tree = Self { forced: first[..shared].to_vec(), nodes: vec![Node::default()], options: options.len() };
        for (index, tokens) in options.iter().enumerate() {
            let mut at = 0;
            for token in &tokens[shared..] {
                at = match tree.nodes[at].children.iter().find(|(t, _)| t == token) {
                    Some((_, child)) => *child,
                    None => {
                        let mut path = tree.nodes[at].path.clone();
                        path.push(*token);
                        // 0 until its parent was read.
                        tree.nodes.push(Node { path, log_prefix: f64::NEG_INFINITY, ..Node::default() });
                        let child = tree.nodes.len() - 1;
                        tree.nodes[at].children.push((*token, child));
                        child
                    }
                };
            }
            tree.nodes[at].option.get_or_insert(index);
        }
        tree
    }

    /// The tokens that all options begin with.
    #[must_use]
    pub fn forced(&self) -> &[Token] {
        &self.forced
    }

    /// The nodes whose logits determine the masses: the root first, parents before children.
    #[must_use]
    pub fn probes(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|n| *n == 0 || !self.nodes[*n].children.is_empty()).collect()
    }

    /// The tokens from the end of [`OptionTree::forced`] to a node.
    #[must_use]
    pub fn path(&self, node: usize) -> &[Token] {
        &self.nodes[node].path
    }

    /// All tokens of an option, [`OptionTree::forced`] included.
    #[must_use]
    pub fn tokens(&self, option: usize) -> Vec<Token> {
        let path = self.nodes.iter().find(|n| n.option == Some(option)).map_or(&[][..], |n| &n.path);
        [&self.forced, path].concat()
    }

    /// The number of tokens in an option's path.
    #[must_use]
    pub fn path_len(&self, option: usize) -> usize {
        self.nodes.iter().find(|n| n.option == Some(option)).map_or(0, |n| n.path.len())
    }

    /// The probability mass that reaches a node, 0 to 1; 0 until its parent was read.
    #[must_use]
    pub fn reach(&self, node: usize) -> f64 {
        self.nodes[node].log_prefix.exp()
    }

    /// The total mass of the options' first tokens, 0 to 1, after the root was read.
    #[must_use]
    pub fn reach_of_options(&self) -> f64 {
        self.nodes[0].children.iter().map(|(_, child)| self.reach(*child)).sum()
    }

    /// The tokens that continue an option after a node.
    pub fn children(&self, node: usize) -> impl Iterator<Item = Token> {
        self.nodes[node].children.iter().map(|(token, _)| *token)
    }

    /// Reads the log probabilities of the tokens after a node; masses of complete options go into `log_masses`.
    ///
    /// `log_p` is -∞ for a token that is not known, and `unseen` is the largest probability that such a token may have
    /// (0 if all are known). With unknown tokens the masses are lower bounds.
    pub fn read(&mut self, node: usize, log_p: impl Fn(Token) -> f64, unseen: f64, log_masses: &mut [f64]) {
        debug_assert_eq!(log_masses.len(), self.options);
        let here = self.nodes[node].clone();
        let mut continued = 0.0;
        for (token, child) in &here.children {
            let log_p = log_p(*token);
            continued += if log_p == f64::NEG_INFINITY { unseen } else { log_p.exp() };
            let child = &mut self.nodes[*child];
            child.log_prefix = here.log_prefix + log_p;
            if let (Some(option), true) = (child.option, child.children.is_empty()) {
                log_masses[option] = child.log_prefix;
            }
        }
        if let Some(option) = here.option {
            log_masses[option] = here.log_prefix + (1.0 - continued).max(0.0).ln();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::logits::log_sum_exp;
    use proptest::prelude::*;

    fn masses(options: &[Vec<Token>], logits_after: impl Fn(&[Token]) -> Vec<f32>) -> Vec<f64> {
        let mut tree = OptionTree::new(options);
        let mut log_masses = vec![f64::NEG_INFINITY; options.len()];
        for node in tree.probes() {
            let logits = logits_after(tree.path(node));
            let log_p = |token: Token| f64::from(logits[token as usize]) - log_sum_exp(&logits);
            tree.read(node, log_p, 0.0, &mut log_masses);
        }
        log_masses
    }

    #[test]
    fn one_is_not_ten() {
        // Tokens: 0 = "1", 1 = "0", 2 = anything else. After "1", "0" follows with probability 1/4.
        let logits_after = |path: &[Token]| match path {
            [] => vec![0.8f32.ln(), 0.1f32.ln(), 0.1f32.ln()],
            _ => vec![0.25f32.ln(), 0.25f32.ln(), 0.5f32.ln()],
        };
        let found = masses(&[vec![7, 0], vec![7, 0, 1]], logits_after);
        assert!((found[0].exp() - 0.8 * 0.75).abs() < 1e-6 && (found[1].exp() - 0.8 * 0.25).abs() < 1e-6, "{found:?}");
    }

    #[test]
    fn what_all_options_share_is_forced() {
        let tree = OptionTree::new(&[vec![5, 6, 1], vec![5, 6, 2, 3]]);
        assert_eq!(tree.forced(), [5, 6]);
        assert_eq!((tree.path_len(0), tree.path_len(1)), (1, 2));
        let tree = OptionTree::new(&[vec![5, 6], vec![5, 6, 3]]);
        assert_eq!(tree.forced(), [5], "a token is left to choose");
    }

    proptest! {
        /// Each leaf mass is the plain product of probabilities, and the sum never exceeds one.
        #[test]
        fn masses_are_disjoint(
            options in prop::collection::btree_set(prop::collection::vec(0..4i32, 1..4), 2..8),
            seed in 0..1000u64,
        ) {
            let options: Vec<Vec<Token>> = options.into_iter().collect();
            let logits_after = |path: &[Token]| -> Vec<f32> {
                (0..5u64).map(|t| {
                    let mut h = seed ^ 0x9e37_79b9_7f4a_7c15;
                    for token in path.iter().map(|t| *t as u64 + 1).chain([t + 11]) {
                        h = (h ^ token).wrapping_mul(0xff51_afd7_ed55_8ccd).rotate_left(29);
                    }
                    (h % 1000) as f32 / 250.0
                }).collect()
            };
            let found = masses(&options, logits_after);
            let sum: f64 = found.iter().map(|m| m.exp()).sum();
            prop_assert!(sum <= 1.0 + 1e-9, "{sum}");
            let shared = OptionTree::new(&options).forced().len();
            for (i, option) in options.iter().enumerate() {
                let path = &option[shared..];
                let p = |prefix: &[Token], token: Token| {
                    let logits = logits_after(prefix);
                    (f64::from(logits[token as usize]) - log_sum_exp(&logits)).exp()
                };
                let product: f64 = (0..path.len()).map(|n| p(&path[..n], path[n])).product();
                let continued: std::collections::BTreeSet<Token> = options.iter()
                    .filter(|o| o.len() > option.len() && o.starts_with(option)).map(|o| o[option.len()]).collect();
                let stays = 1.0 - continued.iter().map(|t| p(path, *t)).sum::<f64>();
                prop_assert!((found[i].exp() - product * stays).abs() < 1e-9);
            }
        }
    }
}
