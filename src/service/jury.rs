//! Runs a task with one judge or with a jury: each juror judges on its own, and their verdicts are combined.

use std::sync::Arc;
use std::time::Instant;

use futures::future::join_all;
use sha2::{Digest, Sha256};
use ulid::Ulid;

use super::{Delta, Graded, Progress, RequestContext, Service, ServiceError, Session};
use crate::domain::jury::{Judges, Juror, Jury};
use crate::domain::{InvalidVerdict, Method, ModelRef, NamedDigest, Provenance, milliseconds};
use crate::tasks::{JuryTask, TaskError, Vote};

/// The engine of a jury in verdicts.
const JURY: &str = "jury";

/// An admitted request with its judge or its jury.
#[derive(Clone)]
pub enum Panel {
    /// One judge.
    One(Session),
    /// A jury.
    Jury(JurySession),
}

/// An admitted request with the judges of a jury.
#[derive(Clone)]
pub struct JurySession {
    jury: Arc<Jury>,
    /// The judge of each juror, or why it has none.
    seats: Vec<Result<Session, ServiceError>>,
}

/// What the jurors say, and how far they agree.
#[derive(Debug, Clone)]
pub struct JuryReport<V> {
    /// The jury.
    pub jury: Arc<Jury>,
    /// The verdict of each juror, or its error, in the order of the jury.
    pub jurors: Vec<JurorVerdict<V>>,
    /// The standard deviation of the jurors' rewards, or of their `probability_a`; `None` for fewer than two.
    pub spread: Option<f64>,
    /// Chance-corrected agreement of their scores or preferences; `None` for fewer than two.
    pub kappa: Option<f64>,
}

/// The verdict of a juror.
#[derive(Debug, Clone)]
pub struct JurorVerdict<V> {
    /// The juror's name.
    pub name: String,
    /// Whether label noise turned the verdict around before it was counted.
    pub flipped: bool,
    /// The verdict as the juror gave it, or why it has none.
    pub graded: Result<Graded<V>, ServiceError>,
}

impl<V> JuryReport<V> {
    pub(super) fn map<W>(self, make: &impl Fn(V) -> W) -> JuryReport<W> {
        let Self { jury, jurors, spread, kappa } = self;
        let of = |JurorVerdict { name, flipped, graded }: JurorVerdict<V>| {
            // A juror has no jury of its own.
            let graded = graded.map(|Graded { id, verdict, provenance, stats, failures, .. }| Graded {
                id,
                verdict: make(verdict),
                provenance,
                stats,
                failures,
                jury: None,
            });
            JurorVerdict { name, flipped, graded }
        };
        JuryReport { jury, jurors: jurors.into_iter().map(of).collect(), spread, kappa }
    }
}

impl Service {
    /// Admits a request, and finds the judge or the judges that it names. A juror whose model cannot be used fails
    /// alone.
    ///
    /// # Errors
    /// Those of [`Service::begin`]; for a jury, if the request is not admitted.
    pub async fn panel(&self, context: &RequestContext, judges: Judges) -> Result<Panel, ServiceError> {
        let jury = match judges {
            Judges::One(model) => return Ok(Panel::One(self.begin(context, model.as_deref()).await?)),
            Judges::Jury(jury) => jury,
        };
        self.admission.check()?;
        let seats = join_all(jury.jurors.iter().map(|juror| self.begin(context, Some(&juror.model)))).await;
        Ok(Panel::Jury(JurySession { jury: Arc::new(jury), seats }))
    }
}

impl Panel {
    /// The name of the model, or of the jury.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::One(session) => session.judge().engine().model.clone(),
            Self::Jury(session) => name_of(&session.jury),
        }
    }

    /// How all its judges compare responses if a request does not say; `None` if they differ.
    #[must_use]
    pub fn preference_method(&self) -> Option<Method> {
        let seats = match self {
            Self::One(session) => return Some(session.judge().preference_method()),
            Self::Jury(session) => &session.seats,
        };
        let mut methods = seats.iter().flatten().map(|session| session.judge().preference_method());
        let first = methods.next().unwrap_or_default();
        methods.all(|method| method == first).then_some(first)
    }

    /// Its one judge; `None` for a jury.
    #[must_use]
    pub fn alone(&self) -> Option<&Session> {
        match self {
            Self::One(session) => Some(session),
            Self::Jury(_) => None,
        }
    }

    /// Runs a task: [`Session::run`] with one judge, [`JurySession::run`] with a jury.
    ///
    /// # Errors
    /// Those of both.
    pub async fn run<T: JuryTask>(
        &self,
        task: T,
        progress: Option<Progress>,
    ) -> Result<Graded<T::Verdict>, ServiceError> {
        match self {
            Self::One(session) => session.run(task, progress).await,
            Self::Jury(session) => session.run(task, progress).await,
        }
    }

    /// The prompts of all runs, of each juror.
    ///
    /// # Errors
    /// If a prompt cannot be rendered or does not fit, or the model of a juror cannot be used.
    pub async fn prompts<T: JuryTask>(&self, task: T) -> Result<Vec<String>, ServiceError> {
        let JurySession { jury, seats } = match self {
            Self::One(session) => return session.prompts(task).await,
            Self::Jury(session) => session,
        };
        let mut prompts = Vec::new();
        for (juror, seat) in jury.jurors.iter().zip(seats) {
            let session = seat.as_ref().map_err(Clone::clone)?;
            prompts.extend(session.prompts(task.for_juror(juror)).await?);
        }
        Ok(prompts)
    }
}

impl JurySession {
    /// Lets every juror judge the task at the same time, and combines their verdicts.
    ///
    /// # Errors
    /// If the task is invalid, or fewer jurors than the quorum have a verdict.
    pub async fn run<T: JuryTask>(
        &self,
        task: T,
        progress: Option<Progress>,
    ) -> Result<Graded<T::Verdict>, ServiceError> {
        let started = Instant::now();
        task.check().map_err(TaskError::from)?;
        let judged = self.jury.jurors.iter().zip(&self.seats).map(|(juror, seat)| {
            let (task, name, progress) = (&task, juror.name(), progress.clone());
            async move {
                let judge: Arc<str> = name.as_str().into();
                let named = progress.map(|progress| -> Progress {
                    Arc::new(move |delta| progress(Delta { judge: Some(Arc::clone(&judge)), ..delta }))
                });
                let graded = match seat {
                    Ok(session) => session.run(task.for_juror(juror), named).await,
                    Err(error) => Err(error.clone()),
                };
                let noise = self.jury.noise.filter(|_| graded.is_ok());
                let flipped = noise.is_some_and(|noise| task.is_flipped(noise, juror));
                JurorVerdict { name, flipped, graded }
            }
        });
        let jurors = join_all(judged).await;
        self.decided(&task, jurors, started)
    }

    /// The verdict of the jurors, if there are enough.
    fn decided<T: JuryTask>(
        &self,
        task: &T,
        jurors: Vec<JurorVerdict<T::Verdict>>,
        started: Instant,
    ) -> Result<Graded<T::Verdict>, ServiceError> {
        let jury = &self.jury;
        let heard: Vec<(&Juror, bool, &Graded<T::Verdict>)> = jury
            .jurors
            .iter()
            .zip(&jurors)
            .filter_map(|(juror, vote)| Some((juror, vote.flipped, vote.graded.as_ref().ok()?)))
            .collect();
        if heard.len() < jury.quorum {
            let failed = jurors.into_iter().filter_map(|juror| Some((juror.name, juror.graded.err()?))).collect();
            return Err(ServiceError::NoQuorum { failed, jurors: jury.jurors.len(), quorum: jury.quorum });
        }
        let (mut votes, mut failures) = (Vec::with_capacity(heard.len()), Vec::new());
        for (juror, flipped, Graded { verdict, failures: own, .. }) in heard.iter().copied() {
            let (weight, failures_before) = (jury.weight(juror), failures.len());
            votes.push(Vote { verdict, weight, flipped, juror, failures_before });
            failures.extend(own.iter().cloned());
        }
        let deliberation = task.deliberate(jury, &votes).map_err(TaskError::from)?;
        let all = heard.iter().map(|(.., graded)| graded.stats.clone());
        let mut stats = all.reduce(|all, own| all.with(&own)).unwrap_or_default();
        stats.timing.total = stats.timing.total.max(milliseconds(started.elapsed()));
        let provenance = provenance(jury, &heard).ok_or(TaskError::from(InvalidVerdict::Empty))?;
        let (spread, kappa) = (deliberation.spread, deliberation.kappa);
        Ok(Graded {
            id: format!("vrd_{}", Ulid::new()),
            verdict: deliberation.verdict,
            provenance,
            stats,
            failures,
            jury: Some(Box::new(JuryReport { jury: Arc::clone(jury), jurors, spread, kappa })),
        })
    }
}

/// The name of a jury in verdicts.
fn name_of(jury: &Jury) -> String {
    jury.name.clone().unwrap_or_else(|| "inline".to_owned())
}

/// What produced the verdict of a jury: the digest of its model is that of all models, prompts, annotators and rules.
fn provenance<V>(jury: &Jury, heard: &[(&Juror, bool, &Graded<V>)]) -> Option<Provenance> {
    let (.., first) = heard.first()?;
    let mut parts: Vec<String> = Vec::new();
    for (juror, _, graded) in heard {
        let Provenance { model, prompt, annotator, .. } = &graded.provenance;
        let [prompt, annotator] = [prompt, annotator].map(|of| of.as_ref().map(|of| of.digest.as_str()));
        parts.push(format!("{} {prompt:?} {annotator:?} {}", model.digest, jury.weight(juror)));
    }
    // The same jurors in another order are the same jury.
    parts.sort();
    parts.push(format!("{:?} {:?}", jury.combine, jury.noise));
    let mut prompts: Vec<&NamedDigest> =
        heard.iter().filter_map(|(.., graded)| graded.provenance.prompt.as_ref()).collect();
    prompts.sort_by(|one, other| (&one.name, &one.digest).cmp(&(&other.name, &other.digest)));
    prompts.dedup();
    let prompt = match prompts[..] {
        [] => None,
        [only] => Some(only.clone()),
        _ => {
            let digests: Vec<&str> = prompts.iter().map(|prompt| prompt.digest.as_str()).collect();
            Some(NamedDigest { name: "several".to_owned(), digest: digest(&digests.join("\n")) })
        }
    };
    let model = ModelRef { name: name_of(jury), engine: JURY, digest: digest(&parts.join("\n")) };
    let annotator = first.provenance.annotator.clone();
    let annotator = annotator.filter(|one| heard.iter().all(|(.., of)| of.provenance.annotator.as_ref() == Some(one)));
    Some(Provenance { model, prompt, annotator, ..first.provenance.clone() })
}

fn digest(text: &str) -> String {
    format!("sha256:{:x}", Sha256::digest(text.as_bytes()))
}
