//! What is decoded in one step.

use std::ops::Range;

use super::backend::Row;
use super::pause::Shares;
use super::sequence::{Need, Sequence};

/// What is decoded together.
#[derive(Clone, Copy)]
pub(super) enum Batch {
    /// Those that need few tokens, or those that read prompts.
    Of(Need),
    /// One that has a batch of its own, so that others do not change the order of its sums.
    Own(u64),
}

/// The rows of the next batch, and which of them whose logits are for.
pub(super) fn plan(running: &mut [Sequence], batch: Batch, step: usize) -> (Vec<Row>, Vec<(u64, Range<usize>)>) {
    let (mut rows, mut wanted) = (Vec::new(), Vec::new());
    let belongs = |s: &&mut Sequence| match batch {
        Batch::Of(need) => !s.alone && s.need() == need && s.look().is_none(),
        Batch::Own(id) => s.id == id && s.look().is_none(),
    };
    let mut order: Vec<&mut Sequence> = running.iter_mut().filter(belongs).collect();
    let prompts = matches!(batch, Batch::Of(Need::Prompt));
    let mut budgets = None;
    if prompts {
        let shares = Shares::of(order.iter().map(|sequence| &**sequence));
        budgets = shares.budgets(step);
        order.sort_by_cached_key(|s| shares.held(&s.flow));
    } else {
        // The step goes to those that came first; in it they stand side by side, as a backend may want them.
        let mut room = step;
        order.retain(|s| {
            room > 0 && {
                room = room.saturating_sub(s.readable());
                true
            }
        });
        order.sort_by_key(|s| s.slot);
    }
    let mut part = None;
    for sequence in order {
        let (tokens, room) = (sequence.readable(), step - rows.len());
        let take = match (&mut budgets, part) {
            (Some(budgets), _) => match budgets.take(&sequence.flow, tokens, room) {
                0 => continue,
                take => take,
            },
            // Prompts share a step in equal parts or not at all: what is left over would be a small batch.
            (None, Some(part)) if prompts && tokens.min(room) < part => continue,
            (None, Some(part)) if prompts => part,
            (None, _) => tokens.min(room),
        };
        part = Some(take);
        for _ in 0..take {
            let index = sequence.computed.len();
            let (token, logits) = sequence.token(index);
            rows.push(Row { token, position: sequence.position(index), slot: sequence.slot, logits });
            sequence.computed.push(token);
        }
        let of_it = rows.len() - take..rows.len();
        if let Some(first) = of_it.clone().find(|row| rows[*row].logits) {
            wanted.push((sequence.id, first..of_it.end));
        }
    }
    (rows, wanted)
}
