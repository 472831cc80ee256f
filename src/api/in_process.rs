//! Requests that come from this process instead of a socket: the lines of batches go through the same routes and
//! middleware as requests of callers, but for the check of a key.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use actix_http::body::MessageBody;
use actix_http::{HttpMessage, Request};
use actix_service::{Service, ServiceFactory};
use actix_web::body::BoxBody;
use actix_web::dev::{AppConfig, ServiceRequest, ServiceResponse};
use actix_web::http::header::{CONTENT_TYPE, HeaderValue};
use actix_web::http::{Method, Uri};
use actix_web::middleware::Next;
use actix_web::{App as Actix, Error, middleware::from_fn, web};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

use super::of_batch::OfBatch;
use super::problem::{Code, Problem};
use super::{body, middleware, paths, recorded};
use crate::app::App;
use crate::jobs::{Execute, LineReply, LineRequest};
use crate::keys::KeyStore;

/// A line, and where its answer goes.
type Asked = (LineRequest, oneshot::Sender<LineReply>);

/// Routes that lines cannot be for.
const NOT_IN_BATCHES: [&str; 4] = ["/v1/files", "/v1/batches", "/v1/rubrics", "/v1/reviews"];

/// Answers lines on a thread of its own, where all of them wait side by side.
pub(super) struct InProcess {
    sender: mpsc::UnboundedSender<Asked>,
    /// The paths of the contract that lines may be for, with their `{parameters}`.
    paths: Vec<String>,
    keys: Arc<KeyStore>,
}

/// The application that lines go to.
pub(super) struct Target {
    pub(super) app: web::Data<App>,
    pub(super) bodies: web::Data<Arc<body::Bodies>>,
    pub(super) routes: fn(&mut web::ServiceConfig),
    /// Its contract.
    pub(super) document: utoipa::openapi::OpenApi,
}

impl InProcess {
    /// Starts the thread. It ends when this is dropped.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub(super) fn start(target: Target) -> std::io::Result<Self> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let judges = |path: &str| !NOT_IN_BATCHES.iter().any(|other| path.starts_with(other));
        let posts = target.document.paths.paths.iter().filter(|(path, item)| item.post.is_some() && judges(path));
        let paths = posts.map(|(path, _)| path.clone()).collect();
        let keys = Arc::clone(&target.app.keys);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let serve = move || LocalSet::new().block_on(&runtime, serve(target, receiver));
        std::thread::Builder::new().name("gavel-batches".to_owned()).spawn(serve)?;
        Ok(Self { sender, paths, keys })
    }
}

impl Execute for InProcess {
    fn accepts(&self, url: &str) -> Result<(), String> {
        let known = self.paths.iter().any(|path| matches(path, url)) && url.parse::<Uri>().is_ok();
        if known { Ok(()) } else { Err(format!("`{url}` is not a route that judges; /openapi.json lists them")) }
    }

    fn may_begin(&self, owner: &str) -> bool {
        match self.keys.named(owner, SystemTime::now()) {
            Ok(Some(caller)) => caller.has_tokens(Instant::now()).is_ok(),
            // Keys are off; or it was revoked, which its lines are answered with.
            Ok(None) | Err(_) => true,
        }
    }

    fn execute(&self, line: LineRequest) -> BoxFuture<'static, LineReply> {
        let (sender, receiver) = oneshot::channel();
        // Without its thread, the line is not answered.
        let _ = self.sender.send((line, sender));
        async move {
            let stopped = || reply_of(&Problem::new(Code::ShuttingDown, "the server is shutting down"));
            receiver.await.unwrap_or_else(|_| stopped())
        }
        .boxed()
    }
}

/// Whether a path of the contract, with its `{parameters}`, is that of a URL.
fn matches(path: &str, url: &str) -> bool {
    let url = url.split('?').next().unwrap_or_default();
    let (mut of_path, mut of_url) = (path.split('/'), url.split('/'));
    loop {
        match (of_path.next(), of_url.next()) {
            (None, None) => return true,
            (Some(part), Some(given)) if part == given || (part.starts_with('{') && !given.is_empty()) => {}
            _ => return false,
        }
    }
}

async fn serve(target: Target, mut lines: mpsc::UnboundedReceiver<Asked>) {
    let Target { app, bodies, routes, .. } = target;
    let made = Actix::new()
        .app_data(app)
        .app_data(bodies)
        .app_data(web::PayloadConfig::new(usize::MAX))
        .wrap(from_fn(recorded::recorded))
        .wrap(from_fn(admitted))
        .wrap(from_fn(middleware::observe))
        .wrap(from_fn(paths::tidied))
        .configure(routes);
    let factory = actix_service::IntoServiceFactory::<_, Request>::into_factory(made);
    let Ok(service) = factory.new_service(AppConfig::default()).await else {
        tracing::error!("the routes cannot be built for batches");
        return;
    };
    let service = std::rc::Rc::new(service);
    while let Some((line, mut sender)) = lines.recv().await {
        let service = std::rc::Rc::clone(&service);
        tokio::task::spawn_local(async move {
            let answered = async {
                match service.call(request(line)).await {
                    Ok(response) => reply(response.map_into_boxed_body()).await,
                    Err(error) => reply_of(&Problem::new(Code::Internal, error.to_string())),
                }
            };
            tokio::select! {
                // Who no longer waits has given the line up.
                () = sender.closed() => {}
                reply = answered => drop(sender.send(reply)),
            }
        });
    }
}

fn request(line: LineRequest) -> Request {
    let LineRequest { url, body, owner } = line;
    let (mut request, _) = Request::new().replace_payload(actix_http::Payload::from(web::Bytes::from(body)));
    let head = request.head_mut();
    head.method = Method::POST;
    head.uri = url.parse().unwrap_or_default();
    head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    request.extensions_mut().insert(OfBatch::of(&owner));
    request
}

async fn reply(response: ServiceResponse<BoxBody>) -> LineReply {
    let status = response.status().as_u16();
    let id = response.headers().get(middleware::REQUEST_ID).and_then(|id| id.to_str().ok());
    let request_id = id.unwrap_or_default().to_owned();
    match actix_http::body::to_bytes(response.into_body().boxed()).await {
        Ok(body) => LineReply { status, request_id, body: String::from_utf8_lossy(&body).into_owned() },
        Err(error) => reply_of(&Problem::new(Code::Internal, error.to_string())),
    }
}

/// The reply of a route that fails.
fn reply_of(problem: &Problem) -> LineReply {
    let body = problem.body("", "");
    let (status, body) = (body.status, serde_json::to_string(&body).expect("strings and numbers"));
    LineReply { status, request_id: String::new(), body }
}

/// Middleware that counts the line for the key of its batch, if that still may make batches.
async fn admitted(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let of_batch = request.extensions().get::<OfBatch>().cloned();
    if let (Some(app), Some(batch)) = (request.app_data::<web::Data<App>>(), of_batch) {
        match app.keys.named(batch.owner(), SystemTime::now()) {
            // Limits of requests are not for lines, which wait for their turn, and for tokens.
            Ok(Some(caller)) => middleware::take_seat(request.request(), caller.admit_line(Instant::now())),
            Ok(None) => {}
            Err(unknown) => {
                return Ok(request.error_response(Problem::new(Code::Unauthenticated, unknown.to_string())));
            }
        }
    }
    Ok(next.call(request).await?.map_into_boxed_body())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_that_of_a_path_with_its_parameters() {
        let check = |path: &str, url: &str, expected: bool| assert_eq!(matches(path, url), expected, "{path} {url}");
        check("/v1/rank", "/v1/rank", true);
        check("/v1/rank", "/v1/rank?x=1", true);
        check("/v1/rank", "/v1/rank/", false);
        check("/v1/rank", "/v1", false);
        check("/compat/slime/{rubric}", "/compat/slime/helpfulness", true);
        check("/compat/slime/{rubric}", "/compat/slime/", false);
        check("/compat/slime/{rubric}", "/compat/slime/a/b", false);
    }
}
