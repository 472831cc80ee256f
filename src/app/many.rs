//! Several responses to one instruction, put in order or made into pairs. Their judgements wait their turn as the
//! items of bulk work do.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};

use super::{App, Deadline, ServiceError};
use crate::grading::ManyRequest;
use crate::panel::{Account, Many, Pair, PairRules, Panel, Preferences, Ranked, Relative, meetings};

impl App {
    /// Puts responses in order.
    ///
    /// # Errors
    /// The first that a judgement has, which stops the others: an order of only some of the responses is not what was
    /// asked for.
    pub async fn rank(
        &self,
        panel: &Arc<Panel>,
        request: &ManyRequest,
        deadline: Deadline,
    ) -> Result<(Ranked, Account), ServiceError> {
        let at_once = self.config.limits.bulk_items;
        let (verdicts, accounts) = match meetings(&request.responses, request.method) {
            Many::Alone(places) => {
                let run = |place| self.absolute_in_turn(panel, request.alone(place), deadline);
                let runs = stream::iter(places).map(run).buffered(at_once);
                let (graded, accounts) = runs.try_collect::<Vec<_>>().await?.into_iter().unzip();
                (Many::Alone(graded), accounts)
            }
            Many::Pairs(pairs) => {
                let run = |pair| async move {
                    let Pair { a, b, of } = self.compare(panel, request, pair, deadline).await;
                    of.map(|(of, account)| (Pair { a, b, of }, account))
                };
                let runs = stream::iter(pairs).map(run).buffered(at_once);
                let (compared, accounts) = runs.try_collect::<Vec<_>>().await?.into_iter().unzip();
                (Many::Pairs(compared), accounts)
            }
        };
        let accounts: Vec<Account> = accounts;
        let ranked = Ranked::new(verdicts, request.responses.len(), request.tie_margin);
        Ok((ranked, Account::of_all(accounts)))
    }

    /// Makes pairs of responses. What fails fails alone, and is reported with what else became no pair.
    pub async fn preferences(
        &self,
        panel: &Arc<Panel>,
        request: &ManyRequest,
        rules: PairRules,
        deadline: Deadline,
    ) -> (Preferences<ServiceError>, Account) {
        let mut accounts = Vec::new();
        let tried = match meetings(&request.responses, request.method) {
            Many::Alone(places) => {
                let run = |_, place| self.absolute_in_turn(panel, request.alone(place), deadline);
                let graded = self.each(places, run).await.into_iter();
                Many::Alone(graded.map(|run| keep(&mut accounts, run)).collect())
            }
            Many::Pairs(pairs) => {
                let run = |_, pair| self.compare(panel, request, pair, deadline);
                let compared = self.each(pairs, run).await.into_iter();
                Many::Pairs(compared.map(|Pair { a, b, of }| Pair { a, b, of: keep(&mut accounts, of) }).collect())
            }
        };
        let preferences = Preferences::new(tried, request.responses.len(), request.tie_margin, rules);
        (preferences, Account::of_all(accounts))
    }

    async fn compare(
        &self,
        panel: &Arc<Panel>,
        request: &ManyRequest,
        Pair { a, b, .. }: Pair<()>,
        deadline: Deadline,
    ) -> Pair<Result<(Relative, Account), ServiceError>> {
        Pair { a, b, of: self.relative_in_turn(panel, request.pair(a, b), deadline).await }
    }
}

fn keep<T>(accounts: &mut Vec<Account>, run: Result<(T, Account), ServiceError>) -> Result<T, ServiceError> {
    run.map(|(verdict, account)| {
        accounts.push(account);
        verdict
    })
}
