//! Traces, against a stand-in for an OTLP receiver.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use prost::Message;
use serde_json::json;

use crate::program::Program;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

type Received = Arc<Mutex<Vec<ExportTraceServiceRequest>>>;

/// Takes what is sent to `/v1/traces`.
struct Receiver {
    url: String,
    received: Received,
    handle: ServerHandle,
}

impl Receiver {
    fn start() -> Self {
        async fn take(http: HttpRequest, body: web::Bytes, received: web::Data<Received>) -> HttpResponse {
            assert_eq!(http.headers().get("content-type").unwrap(), "application/x-protobuf");
            received.lock().unwrap().push(ExportTraceServiceRequest::decode(body.as_ref()).unwrap());
            HttpResponse::Ok().content_type("application/x-protobuf").finish()
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let received = Received::default();
        let data = web::Data::new(Arc::clone(&received));
        let server =
            HttpServer::new(move || App::new().app_data(data.clone()).route("/v1/traces", web::post().to(take)));
        let server = server.workers(1).disable_signals().listen(listener).unwrap().run();
        let handle = server.handle();
        tokio::spawn(server);
        Self { url, received, handle }
    }

    fn spans(&self) -> Vec<Span> {
        let received = self.received.lock().unwrap();
        let scopes = received.iter().flat_map(|request| &request.resource_spans).flat_map(|r| &r.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.handle.stop(false));
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attribute(span: &Span, name: &str) -> Option<Value> {
    span.attributes.iter().find(|pair| pair.key == name)?.value.clone()?.value
}

fn text(value: &str) -> Option<Value> {
    Some(Value::StringValue(value.into()))
}

#[tokio::test]
async fn a_callers_trace_goes_on_through_every_stage() {
    let (receiver, folder) = (Receiver::start(), tempfile::tempdir().unwrap());
    // JSON lines and traces at once: neither may show in the other.
    let settings = [("GAVEL_TRACES__ENDPOINT", receiver.url.as_str()), ("GAVEL_LOG__FORMAT", "json")];
    let program = Program::start(folder.path(), &[&settings[..], &[("GAVEL_TRACES__SERVICE_NAME", "judge")]].concat());
    let parent = format!("00-{TRACE}-{CALLER}-01");
    let headers = [("traceparent", parent.as_str()), ("x-request-id", "req-traced")];
    assert_eq!(program.grade(json!({}), &headers).await, 200);
    assert_eq!(program.grade(json!({"rubric": "nothing"}), &[]).await, 404);
    // What was not sent yet is sent at the end.
    let lines = program.stop();

    let all = receiver.spans();
    let spans: Vec<&Span> = all.iter().filter(|span| hex(&span.trace_id) == TRACE).collect();
    let names: BTreeSet<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, BTreeSet::from(["POST /v1/grade/absolute", "engine", "judgement", "render"]), "{spans:#?}");
    let span = |name: &str| *spans.iter().find(|span| span.name == name).unwrap();
    let (request, judgement, engine) = (span("POST /v1/grade/absolute"), span("judgement"), span("engine"));
    assert_eq!(hex(&request.parent_span_id), CALLER);
    assert_eq!(span("render").parent_span_id, request.span_id);
    assert_eq!(judgement.parent_span_id, request.span_id);
    assert_eq!(engine.parent_span_id, judgement.span_id);
    assert_eq!(request.kind, SpanKind::Server as i32);
    assert_eq!(attribute(request, "http.response.status_code"), Some(Value::IntValue(200)));
    assert_eq!(attribute(request, "http.route"), text("/v1/grade/absolute"));
    assert_eq!(attribute(request, "request_id"), text("req-traced"));
    assert_eq!(attribute(judgement, "rubric"), text("helpfulness"));
    assert_eq!(attribute(judgement, "cache"), text("miss"));
    for stage in ["queue_seconds", "prefill_seconds", "decode_seconds"] {
        assert!(matches!(attribute(engine, stage), Some(Value::DoubleValue(time)) if time >= 0.0), "{engine:?}");
    }
    assert!(matches!(attribute(engine, "prompt_tokens"), Some(Value::IntValue(count)) if count > 0), "{engine:?}");

    let refused = all.iter().find(|span| attribute(span, "error.type") == text("unknown_rubric")).unwrap();
    assert!(refused.parent_span_id.is_empty() && hex(&refused.trace_id) != TRACE);
    // A caller's mistake is no error of the server.
    assert!(refused.status.as_ref().is_none_or(|status| status.code != StatusCode::Error as i32));
    let resource = receiver.received.lock().unwrap()[0].resource_spans[0].resource.clone().unwrap();
    let name = resource.attributes.iter().find(|pair| pair.key == "service.name").unwrap();
    assert_eq!(name.value.clone().unwrap().value, text("judge"));
    let line = lines.lines().find(|line| line.contains("req-traced")).unwrap();
    assert!(!line.contains("otel") && !line.contains("http.route"), "{line}");
}

#[tokio::test]
async fn who_is_not_sampled_is_not_sent() {
    let (receiver, folder) = (Receiver::start(), tempfile::tempdir().unwrap());
    let settings = [("GAVEL_TRACES__ENDPOINT", receiver.url.as_str()), ("GAVEL_TRACES__SAMPLE_RATIO", "0.0")];
    let program = Program::start(folder.path(), &settings);
    let [unsampled, sampled] = ["00", "01"].map(|flag| format!("00-{TRACE}-{CALLER}-{flag}"));
    program.grade(json!({}), &[]).await;
    program.grade(json!({}), &[("traceparent", &unsampled), ("x-request-id", "no")]).await;
    program.grade(json!({}), &[("traceparent", &sampled), ("x-request-id", "yes")]).await;
    program.stop();
    let requests = receiver.spans().into_iter().filter_map(|span| attribute(&span, "request_id"));
    assert_eq!(requests.collect::<Vec<_>>(), [Value::StringValue("yes".into())]);
}

#[tokio::test]
async fn without_an_endpoint_nothing_is_sent() {
    let (receiver, folder) = (Receiver::start(), tempfile::tempdir().unwrap());
    // The variable that OpenTelemetry's own tools read does not turn it on.
    let program = Program::start(folder.path(), &[("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.url)]);
    let parent = format!("00-{TRACE}-{CALLER}-01");
    assert_eq!(program.grade(json!({}), &[("traceparent", &parent)]).await, 200);
    program.stop();
    assert!(receiver.received.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_receiver_that_is_not_there_stops_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let program = Program::start(folder.path(), &[("GAVEL_TRACES__ENDPOINT", &format!("http://{nobody}"))]);
    assert_eq!(program.grade(json!({}), &[]).await, 200);
    let lines = program.stop();
    assert!(lines.contains("WARN") || lines.contains("ERROR"), "it is said:\n{lines}");
}
