//! The HTTP API: every route on one page, one file for each resource. Only [`problem`] maps errors
//! to statuses, which the table of [`code`] has.

mod absolute;
mod access;
mod access_log;
mod batches;
mod body;
mod body_scan;
mod bulk;
mod candidates;
mod checklist;
mod claims;
pub mod code;
mod comparison_options;
mod compat;
mod context;
mod cors;
mod critique;
mod detail;
mod domain_schema;
mod errors;
mod examples;
mod files;
mod in_process;
mod json;
mod jury;
mod label;
pub mod local;
mod messages;
mod method;
mod middleware;
mod not_found;
mod of_batch;
mod openai;
pub(crate) mod pages;
mod paths;
mod pictures;
mod preferences;
pub mod problem;
mod rank;
mod recent_errors;
mod recorded;
mod refine;
mod relative;
mod reports;
mod reviews;
mod reward_method;
mod rewards;
mod routing;
mod rubrics;
mod samples;
mod schema;
mod segments;
mod stream;
mod system;
pub mod tls;
mod usage;
mod verdict;
mod verdicts;
mod web_page;

use std::net::TcpListener;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use actix_web::middleware::{Condition, from_fn};
use actix_web::{App as Actix, HttpResponse, HttpServer, web};
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};

use crate::app::App;
use crate::jobs::Runner;

/// Every route.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/v1/grade/absolute").route(web::post().to(absolute::grade)))
        .service(web::resource("/v1/grade/relative").route(web::post().to(relative::grade)))
        .service(web::resource("/v1/grade/segments").route(web::post().to(segments::grade)))
        .service(web::resource("/v1/grade/label").route(web::post().to(label::grade)))
        .service(web::resource("/v1/grade/checklist").route(web::post().to(checklist::grade)))
        .service(web::resource("/v1/grade/claims").route(web::post().to(claims::grade)))
        .service(web::resource("/v1/critique").route(web::post().to(critique::critique)))
        .service(web::resource("/v1/refine").route(web::post().to(refine::refine)))
        .service(web::resource("/v1/rank").route(web::post().to(rank::rank)))
        .service(web::resource("/v1/preferences").route(web::post().to(preferences::preferences)))
        .service(web::resource("/v1/rewards").route(web::post().to(rewards::rewards)))
        .service(web::resource("/v1/rubrics").route(web::get().to(rubrics::list)))
        .service(
            web::resource("/v1/rubrics/{name}")
                .route(web::get().to(rubrics::show))
                .route(web::put().to(rubrics::put))
                .route(web::delete().to(rubrics::delete)),
        )
        .configure(openai_routes)
        .configure(job_routes)
        .configure(review_routes)
        .service(web::resource("/v1/info").route(web::get().to(system::info)))
        .service(web::resource("/v1/reports").route(web::get().to(reports::list)))
        .service(web::resource("/v1/reports/{name}").route(web::get().to(reports::show)))
        .service(web::resource("/v1/usage").route(web::get().to(usage::usage)))
        .service(web::resource("/v1/errors").route(web::get().to(errors::errors)))
        .configure(compat_routes)
        .service(web::resource("/metrics").route(web::get().to(system::metrics)))
        .service(web::resource("/livez").route(web::get().to(system::live)))
        .service(web::resource(["/readyz", "/health"]).route(web::get().to(system::ready)))
        .service(web::resource("/version").route(web::get().to(system::version)))
        .service(web::resource("/openapi.json").route(web::get().to(document_json)))
        .service(web::resource("/").route(web::get().to(web_page::index)))
        .service(web::resource("/web/{file}").route(web::get().to(web_page::file)))
        .service(web::resource("/docs").route(web::get().to(pages::index)))
        .service(web::resource("/docs/openapi").route(web::get().to(pages::to_api_page)))
        .service(pages::api_page())
        .service(web::resource("/docs/{page}").route(web::get().to(pages::page)))
        .service(web::resource("/docs/images/{picture}").route(web::get().to(pages::picture)))
        .default_service(web::to(not_found::not_found));
}

/// Routes of the OpenAI-compatible API.
fn openai_routes(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/v1/chat/completions").route(web::post().to(openai::chat)))
        .service(web::resource("/v1/completions").route(web::post().to(openai::complete)))
        .service(web::resource("/v1/responses").route(web::post().to(openai::respond)))
        .service(web::resource("/tokenize").route(web::post().to(openai::tokenize)))
        .service(web::resource("/detokenize").route(web::post().to(openai::detokenize)))
        .service(web::resource("/tokenizer_info").route(web::get().to(openai::tokenizer_info)))
        .service(web::resource("/v1/decisions").route(web::post().to(openai::decide)))
        .service(web::resource("/v1/systemone").route(web::post().to(openai::systemone)))
        .service(web::resource("/v1/fine_tuning/alpha/graders/run").route(web::post().to(openai::run_grader)))
        .service(web::resource("/v1/fine_tuning/alpha/graders/validate").route(web::post().to(openai::validate_grader)))
        .service(web::resource("/v1/models").route(web::get().to(openai::models)))
        .service(web::resource("/v1/models/{id:.*}").route(web::get().to(openai::model)));
}

/// Routes of durable jobs and of the log of verdicts.
fn job_routes(config: &mut web::ServiceConfig) {
    let files = web::resource("/v1/files").route(web::post().to(files::upload)).route(web::get().to(files::list));
    let file = web::resource("/v1/files/{id}").route(web::get().to(files::show)).route(web::delete().to(files::delete));
    let batches =
        web::resource("/v1/batches").route(web::post().to(batches::create)).route(web::get().to(batches::list));
    config
        .service(files)
        .service(file)
        .service(web::resource("/v1/files/{id}/content").route(web::get().to(files::content)))
        .service(batches)
        .service(web::resource("/v1/batches/{id}").route(web::get().to(batches::show)))
        .service(web::resource("/v1/batches/{id}/cancel").route(web::post().to(batches::cancel)))
        .service(web::resource("/v1/verdicts").route(web::get().to(verdicts::list)))
        .service(web::resource("/v1/verdicts/{id}").route(web::get().to(verdicts::show)));
}

/// Routes of the queue of reviews.
fn review_routes(config: &mut web::ServiceConfig) {
    config
        .service(
            web::resource("/v1/reviews").route(web::post().to(reviews::create)).route(web::get().to(reviews::list)),
        )
        .service(web::resource("/v1/reviews/agreement").route(web::get().to(reviews::outcome::agreement)))
        .service(web::resource("/v1/reviews/export").route(web::get().to(reviews::outcome::export)))
        .service(web::resource("/v1/reviews/{id}").route(web::get().to(reviews::show)))
        .service(web::resource("/v1/reviews/{id}/claim").route(web::post().to(reviews::claim)))
        .service(web::resource("/v1/reviews/{id}/label").route(web::post().to(reviews::label)))
        .service(web::resource("/v1/reviews/{id}/skip").route(web::post().to(reviews::skip)));
}

/// Routes of other protocols.
fn compat_routes(config: &mut web::ServiceConfig) {
    use compat::{atla, classify, nemo_gym, openrlhf, promptfoo, score, slime};
    let post = web::post;
    config
        .service(web::resource("/compat/openrlhf/{rubric}").route(post().to(openrlhf::rewards)))
        .service(web::resource("/get_reward").route(post().to(openrlhf::get_reward)))
        .service(web::resource("/compat/slime/{rubric}").route(post().to(slime::reward)))
        .service(web::resource("/compat/nemo-gym/{rubric}/verify").route(post().to(nemo_gym::verify)))
        .service(web::resource("/compat/nemo-gym/{rubric}/compare").route(post().to(nemo_gym::compare)))
        .service(web::resource("/compat/nemo-gym/{rubric}/seed_session").route(post().to(nemo_gym::seed_session)))
        .service(web::resource("/compat/promptfoo/{rubric}").route(post().to(promptfoo::webhook)))
        .service(web::resource("/compat/atla/v1/eval").route(post().to(atla::eval)))
        .service(web::resource(["/classify", "/v1/classify"]).route(post().to(classify::classify)))
        .service(web::resource("/v1/embeddings").route(post().to(classify::embeddings)))
        .service(web::resource("/predict").route(post().to(classify::predict)))
        .service(web::resource(["/score", "/v1/score"]).route(post().to(score::score)))
        .service(web::resource(["/rerank", "/v1/rerank", "/v2/rerank"]).route(post().to(score::rerank)));
}

/// The OpenAPI document: add a new route above and here.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Gavel",
        description = "An LLM-as-judge evaluation server: rubric scores, feedback and preferences, each with a probability distribution.",
    ),
    paths(
        absolute::grade,
        relative::grade,
        segments::grade,
        label::grade,
        checklist::grade,
        claims::grade,
        critique::critique,
        refine::refine,
        rank::rank,
        preferences::preferences,
        rewards::rewards,
        compat::openrlhf::rewards,
        compat::openrlhf::get_reward,
        compat::slime::reward,
        compat::nemo_gym::verify,
        compat::nemo_gym::compare,
        compat::nemo_gym::seed_session,
        compat::promptfoo::webhook,
        compat::atla::eval,
        compat::classify::classify,
        compat::classify::embeddings,
        compat::classify::predict,
        compat::score::score,
        compat::score::rerank,
        rubrics::list,
        rubrics::show,
        rubrics::put,
        rubrics::delete,
        openai::chat,
        openai::complete,
        openai::respond,
        openai::tokenize,
        openai::detokenize,
        openai::tokenizer_info,
        openai::decide,
        openai::systemone,
        openai::run_grader,
        openai::validate_grader,
        openai::models,
        openai::model,
        files::upload,
        files::list,
        files::show,
        files::delete,
        files::content,
        batches::create,
        batches::list,
        batches::show,
        batches::cancel,
        verdicts::list,
        verdicts::show,
        reviews::create,
        reviews::list,
        reviews::outcome::agreement,
        reviews::outcome::export,
        reviews::show,
        reviews::claim,
        reviews::label,
        reviews::skip,
        reports::list,
        reports::show,
        system::info,
        usage::usage,
        errors::errors,
        system::live,
        system::ready,
        system::version,
        system::metrics,
    ),
    components(schemas(problem::ProblemBody)),
    // In reading order, which pages of this document keep.
    tags(
        (name = "grading", description = "Scores, preferences, rankings, rewards and the other methods."),
        (name = "rewards", description = "Rewards for trainers in Gavel's own form."),
        (name = "rubrics", description = "The rubrics of this server."),
        (name = "openai", description = "OpenAI's API: judge models, completions, decisions, graders."),
        (name = "batches", description = "Durable jobs, as in OpenAI's API."),
        (name = "reviews", description = "Judgements by people."),
        (name = "verdicts", description = "The log of verdicts."),
        (name = "reports", description = "How far judges are to be trusted."),
        (name = "server", description = "What runs, and how it is."),
        (name = "trainers", description = "Routes under which trainers look for rewards."),
        (name = "reward servers", description = "APIs of other reward and rerank servers."),
        (name = "tools", description = "APIs of evaluation tools."),
    )
)]
struct Contract;

/// Aliases of routes, as in other servers.
const ALIASES: [(&str, &str); 5] = [
    ("/v1/classify", "/classify"),
    ("/v1/score", "/score"),
    ("/v1/rerank", "/rerank"),
    ("/v2/rerank", "/rerank"),
    ("/health", "/readyz"),
];

/// The OpenAPI document, generated from the types.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    let mut document = Contract::openapi();
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("While keys are on.")).build();
    document.components.get_or_insert_default().add_security_scheme("key", SecurityScheme::Http(bearer));
    let key = SecurityRequirement::new("key", std::iter::empty::<String>());
    document.security = Some(vec![SecurityRequirement::default(), key]);
    for (alias, path) in ALIASES {
        let mut item = document.paths.paths.get(path).cloned().unwrap_or_default();
        let name = alias.trim_matches('/').replace('/', "_");
        item.post
            .iter_mut()
            .chain(item.get.iter_mut())
            .for_each(|operation| operation.operation_id = Some(name.clone()));
        document.paths.paths.insert(alias.to_owned(), item);
    }
    document
}

async fn document_json() -> HttpResponse {
    HttpResponse::Ok().json(document())
}

/// How long the rest of a refused body is read after its answer.
const LINGER: Duration = Duration::from_secs(5);

/// Makes the system close connections whose peers read nothing for this time, for which the framework has no limit. The
/// connections of a listener have its setting. On systems other than Linux, the system's own limits apply.
fn give_up_after(listener: &TcpListener, unread: Duration) {
    #[cfg(target_os = "linux")]
    if let Err(error) = socket2::SockRef::from(listener).set_tcp_user_timeout(Some(unread)) {
        tracing::warn!(%error, "cannot set TCP_USER_TIMEOUT, so answers that callers do not read are kept longer");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (listener, unread);
}

/// A server on `listener`, not yet running.
///
/// # Errors
/// When the socket cannot be used.
pub fn server(app: Arc<App>, listener: TcpListener) -> std::io::Result<Server> {
    let limits = app.config.limits.clone();
    app.metrics.expect_refusals(code::Code::names());
    app.metrics.expect_models(app.config.model_names().iter().map(String::as_str));
    let data = web::Data::from(app);
    let bodies = web::Data::new(body::Bodies::new(limits.held_body_bytes));
    work_on_batches(&data, &bodies)?;
    tokio::spawn(Arc::clone(&data.verdicts).write());
    tokio::spawn(Arc::clone(&data.usage).write());
    give_up_after(&listener, Duration::from_millis(limits.unread_ms));
    data.admission.shutdown.keep_port(listener.try_clone()?);
    let tls = tls::server_config(&data.config.tls)?;
    let known = web::Data::new(not_found::Routes::of(&document()));
    let errors = web::Data::new(recent_errors::RecentErrors::default());
    let server = HttpServer::new(move || {
        let origins = &data.config.cors;
        Actix::new()
            .app_data(data.clone())
            .app_data(bodies.clone())
            .app_data(known.clone())
            .app_data(errors.clone())
            .app_data(web::PayloadConfig::new(usize::MAX))
            .wrap(from_fn(recorded::recorded))
            .wrap(from_fn(access::checked))
            .wrap(from_fn(middleware::observe))
            .wrap(from_fn(paths::tidied))
            .wrap(Condition::new(!origins.origins.is_empty(), cors::middleware(origins)))
            .configure(routes)
    });
    let server = server
        .workers(std::thread::available_parallelism().map_or(2, std::num::NonZero::get))
        // `shut_down` ends requests in time for this one.
        .shutdown_timeout((Duration::from_millis(limits.shutdown_ms) + LAST_WORDS).as_secs() + 1)
        .disable_signals()
        // A caller that closes its side has disconnected: its request is dropped, and its work stops.
        .h1_allow_half_closed(false)
        // The rest of a refused body is read and discarded for this time, so that its caller can read the answer.
        .client_disconnect_timeout(LINGER);
    let server = match tls {
        Some(tls) => server.listen_rustls_0_23(listener, tls)?,
        None => server.listen(listener)?,
    };
    Ok(server.run())
}

/// Starts the worker for batches of this process.
fn work_on_batches(app: &web::Data<App>, bodies: &web::Data<Arc<body::Bodies>>) -> std::io::Result<()> {
    if app.jobs.config().concurrency == 0 {
        return Ok(());
    }
    let target = in_process::Target { app: app.clone(), bodies: bodies.clone(), routes, document: document() };
    let lines = in_process::InProcess::start(target)?;
    let (jobs, metrics) = (Arc::clone(&app.jobs), Arc::clone(&app.metrics));
    let runner = Runner::new(jobs, Arc::new(lines), metrics, app.config.limits.bulk_body_bytes);
    tokio::spawn(runner.run());
    Ok(())
}

/// How long answers may take to be sent after the requests in flight were cut off.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How long the thread that accepts connections may take to notice that it is to stop, and the threads that serve them to
/// take up those that it has accepted.
const NOTICED: Duration = Duration::from_millis(2);
const TAKEN_UP: Duration = Duration::from_millis(200);

/// Closes the port of a server that still serves. The framework stops its threads before it closes the port, and drops the
/// connections that were accepted and not yet taken up.
async fn close_port(app: &App, handle: &ServerHandle) {
    let Some(port) = app.admission.shutdown.take_port() else { return };
    handle.pause().await;
    tokio::time::sleep(NOTICED).await;
    // From here on, the system refuses connections. Where it cannot, the framework closes the port, after its threads.
    if let Err(error) = socket2::SockRef::from(&port).shutdown(std::net::Shutdown::Read) {
        tracing::debug!(%error, "the port is closed with the last request");
    }
    drop(port);
    tokio::time::sleep(TAKEN_UP).await;
}

/// Stops a server: for the time of `drain` it is not ready, but still serves; then it closes its port and finishes the
/// requests in flight. At the configured limit, or when `hurry` is ready, it cuts them off. Returns how many were.
pub async fn shut_down(app: &App, handle: &ServerHandle, drain: Duration, hurry: impl Future<Output = ()>) -> usize {
    let shutdown = &app.admission.shutdown;
    shutdown.drain();
    let stop = async {
        let drained = tokio::time::timeout(drain, shutdown.is_cut_off());
        // Others take the lines of batches, or this one takes them again when it is back. A database that is away is not
        // waited for.
        let batches = tokio::time::timeout(LAST_WORDS, app.jobs.stop());
        // Either way, it is time to close.
        let _ = tokio::join!(drained, batches);
        shutdown.close();
        close_port(app, handle).await;
        handle.stop(true).await;
        app.verdicts.stop().await;
        match tokio::time::timeout(LAST_WORDS, app.usage.stop()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the last seconds of the usage of keys are lost"),
            Err(_) => tracing::error!("the last seconds of the usage of keys are lost: the database does not answer"),
        }
        // What does not end in time stays in SQLite's log beside its file, which the next start reads.
        let _ = tokio::time::timeout(LAST_WORDS, app.database.close()).await;
    };
    let limit = tokio::time::timeout(Duration::from_millis(app.config.limits.shutdown_ms), hurry);
    let mut stop = pin!(stop);
    tokio::select! {
        () = &mut stop => return shutdown.cut(),
        _ = limit => shutdown.cut_off(),
    }
    // A caller that does not read its answer is left without it.
    let _ = tokio::time::timeout(LAST_WORDS, stop).await;
    shutdown.cut()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_fields_that_may_be_meant_are_those_of_the_requests() {
        let document = serde_json::to_value(document()).expect("it is JSON");
        let bodies = [
            "AbsoluteBody",
            "ChecklistBody",
            "ClaimsBody",
            "ContextBody",
            "JurorBody",
            "CritiqueBody",
            "DrawBody",
            "DrawnBody",
            "Example",
            "LabelBody",
            "MessageBody",
            "NoiseBody",
            "PreferencesBody",
            "RankBody",
            "RefineBody",
            "RelativeBody",
            "RewardItem",
            "RewardMethod",
            "RewardsBody",
            "RouteBody",
            "AdaptiveSamples",
            "RewardedLabel",
            "RubricBody",
            "SamplingBody",
            "SegmentsBody",
            "Span",
            "WeightedBody",
        ];
        let fields = bodies.iter().flat_map(|body| document["components"]["schemas"][body]["properties"].as_object());
        let names: BTreeSet<&str> = fields.flat_map(|fields| fields.keys().map(String::as_str)).collect();
        assert_eq!(names.into_iter().collect::<Vec<_>>(), json::FIELDS);
    }
}
