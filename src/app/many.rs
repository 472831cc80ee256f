//! Several responses to one instruction, put in order or made into pairs. Their judgements wait their turn as the
//! items of bulk work do.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};

use super::{App, Deadline, ServiceError};
use crate::grading::ManyRequest;
use crate::judge::{JudgeError, milliseconds};
use crate::panel::{Account, Many, Pair, PairRules, Panel, Preferences, Ranked, Relative, meetings};

impl App {
    /// Puts responses in order.
    ///
    /// # Errors
    /// When the request makes no sense; else the first that a judgement has, which stops the others: an order of only some of the responses is not what was
    /// asked for.
    pub async fn rank(
        &self,
        panel: &Arc<Panel>,
        request: &ManyRequest,
        deadline: Deadline,
    ) -> Result<(Ranked, Account), ServiceError> {
        request.check().map_err(JudgeError::from)?;
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
        let ranked = Ranked::new(verdicts, request.responses.len(), request.tie_margin);
        Ok((ranked, deadline.account(accounts)))
    }

    /// Makes pairs of responses. What fails fails alone, and is reported with what else became no pair.
    ///
    /// # Errors
    /// When the request makes no sense; else the last that there was, when nothing was judged at all.
    pub async fn preferences(
        &self,
        panel: &Arc<Panel>,
        request: &ManyRequest,
        rules: PairRules,
        deadline: Deadline,
    ) -> Result<(Preferences<ServiceError>, Account), ServiceError> {
        request.check().map_err(JudgeError::from)?;
        let mut kept = Kept::default();
        let tried = match meetings(&request.responses, request.method) {
            Many::Alone(places) => {
                let run = |_, place| self.absolute_in_turn(panel, request.alone(place), deadline);
                let graded = self.each(places, run).await.into_iter();
                Many::Alone(graded.map(|run| kept.keep(run)).collect())
            }
            Many::Pairs(pairs) => {
                let run = |_, pair| self.compare(panel, request, pair, deadline);
                let compared = self.each(pairs, run).await.into_iter();
                Many::Pairs(compared.map(|Pair { a, b, of }| Pair { a, b, of: kept.keep(of) }).collect())
            }
        };
        if let (true, Some(error)) = (kept.accounts.is_empty(), kept.error) {
            return Err(error);
        }
        let preferences = Preferences::new(tried, request.responses.len(), request.tie_margin, rules);
        Ok((preferences, deadline.account(kept.accounts)))
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

/// What the runs that ended well took, and how the last of the others ended.
#[derive(Default)]
struct Kept {
    accounts: Vec<Account>,
    error: Option<ServiceError>,
}

impl Kept {
    fn keep<T>(&mut self, run: Result<(T, Account), ServiceError>) -> Result<T, ServiceError> {
        let (verdict, account) = run.inspect_err(|error| self.error = Some(error.clone()))?;
        self.accounts.push(account);
        Ok(verdict)
    }
}

impl Deadline {
    /// What the parts of a request took together; the time is that since the request came.
    fn account(self, accounts: Vec<Account>) -> Account {
        let mut account = Account::of_all(accounts);
        account.timing.total = milliseconds(self.started.elapsed());
        account
    }
}
