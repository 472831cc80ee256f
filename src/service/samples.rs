//! Runs the samples of all runs of a task: all of them, or until their majority is settled.

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::join_all;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};

use super::results::{JudgedSample, RunResults};
use super::{Planned, Progress, ServiceError, Session};
use crate::domain::Judgement;
use crate::domain::settling::SettlingRule;
use crate::tasks::{RunKey, Task};

/// The result of one sample of a run.
type Judged = (RunKey, Result<JudgedSample, ServiceError>);

impl Session {
    /// Runs the planned runs, then plans and runs the rest.
    pub(super) async fn judge_all<T: Task>(
        &self,
        task: &Arc<T>,
        mut planned: Vec<Planned>,
        rest: Vec<RunKey>,
        progress: Option<&Progress>,
    ) -> Result<RunResults, ServiceError> {
        let mut outcome = RunResults::default();
        if planned.len() == 1 && rest.is_empty() {
            // Most requests have one run, and need no stream of runs.
            if let Some(only) = planned.pop() {
                let (run, answer) = self.judge_one(&**task, only, progress).await;
                outcome.add((run, Ok(answer?)));
            }
            return Ok(outcome);
        }
        let (task_of_rest, task_of_runs) = (Arc::clone(task), &**task);
        let rest = stream::iter(rest).then(move |run| {
            let task = Arc::clone(&task_of_rest);
            async move { self.plan(&task, vec![run]).await }
        });
        let options = task.options();
        let rule = options.settle.map(|settle| SettlingRule::new(options.samples, settle));
        // Named types: otherwise the compiler cannot prove that the future is `Send`.
        let answers: BoxStream<'_, Judged> = match &rule {
            None => {
                let rest = rest.map(stream::iter).flatten().boxed();
                let all = stream::iter(planned).chain(rest);
                all.map(move |planned| self.judge_one(task_of_runs, planned, progress)).buffered(self.window).boxed()
            }
            Some(rule) => {
                let runs: BoxStream<'_, Vec<Planned>> = stream::iter(by_run(planned)).chain(rest).boxed();
                let drawn = runs.map(move |samples| self.judge_until_settled(task_of_runs, samples, rule, progress));
                drawn.buffered(self.window).map(stream::iter).flatten().boxed()
            }
        };
        if task.allows_failures() {
            answers
                .for_each(|answer| {
                    outcome.add(answer);
                    std::future::ready(())
                })
                .await;
            if let (true, Some(error)) = (outcome.judged == 0, outcome.failures.last()) {
                return Err(error.clone());
            }
        } else {
            // The first failure stops the others.
            let answered = answers.map(|(run, answer)| answer.map(|answer| (run, Ok(answer))));
            answered
                .try_for_each(|answer| {
                    outcome.add(answer);
                    std::future::ready(Ok(()))
                })
                .await?;
        }
        if rule.is_some() {
            let mut samples: HashMap<RunKey, u32> = HashMap::new();
            outcome.answers.iter().for_each(|answer| *samples.entry(answer.run).or_default() += 1);
            outcome.stats.samples_used = samples.into_values().max();
        }
        Ok(outcome)
    }

    /// Runs the samples of one run in their order, until their majority is settled or one fails. Each time, it runs as
    /// many together as are needed at least, so that the result is that of one after the other.
    async fn judge_until_settled<T: Task>(
        &self,
        task: &T,
        samples: Vec<Planned>,
        rule: &SettlingRule,
        progress: Option<&Progress>,
    ) -> Vec<Judged> {
        let (mut samples, mut judged) = (samples.into_iter(), Vec::new());
        let mut votes: HashMap<Vec<usize>, u32> = HashMap::new();
        loop {
            let more = rule.more(votes.values().copied());
            let next: Vec<Planned> = samples.by_ref().take(more as usize).collect();
            if next.is_empty() {
                return judged;
            }
            for (run, answer) in join_all(next.into_iter().map(|one| self.judge_one(task, one, progress))).await {
                let failed = answer.is_err();
                if let Ok(JudgedSample { judgement, .. }) = &answer {
                    *votes.entry(vote(judgement)).or_default() += 1;
                }
                judged.push((run, answer));
                if failed {
                    return judged;
                }
            }
        }
    }
}

/// What a judgement says: the label of each of its choices.
fn vote(judgement: &Judgement) -> Vec<usize> {
    match &judgement.branches[..] {
        [] => vec![judgement.distribution.argmax()],
        branches => branches.iter().map(|branch| branch.distribution.argmax()).collect(),
    }
}

/// The samples of each run, run after run.
fn by_run(planned: Vec<Planned>) -> Vec<Vec<Planned>> {
    let mut runs: Vec<Vec<Planned>> = Vec::new();
    for one in planned {
        match runs.last_mut() {
            Some(run) if run.first().is_some_and(|(key, _)| *key == one.0) => run.push(one),
            _ => runs.push(vec![one]),
        }
    }
    runs
}
