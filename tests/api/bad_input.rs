//! What callers get wrong: each mistake has its status, its code, and a pointer to the field.

use std::io::{Read, Write};

use flate2::{Compression, write::GzEncoder};
use reqwest::{Body, Response};
use serde_json::{Value, json};

use crate::engines::example;
use crate::server::{Server, absolute, ok, problem, relative, rubric, sent};

const ABSOLUTE: &str = "/v1/grade/absolute";
const RELATIVE: &str = "/v1/grade/relative";
const MEGABYTE: usize = 1 << 20;

async fn check(server: &Server, path: &str, body: &Value, status: u16, code: &str, pointer: &str) -> Value {
    let response = server.post_json(path, body).await;
    let found = problem(server, response, status, code).await;
    assert_eq!(found["pointer"].as_str(), Some(pointer), "{body}: {found}");
    found
}

async fn send(server: &Server, headers: &[(&str, &str)], body: impl Into<Body>) -> Response {
    let mut request = server.post(ABSOLUTE).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    sent(request).await
}

#[tokio::test]
async fn fields_that_make_no_sense() {
    let server = Server::with(example());
    let invalid = async |change: Value, pointer: &str| {
        check(&server, ABSOLUTE, &absolute(change), 422, "invalid_request", pointer).await;
    };
    invalid(json!({"response": ""}), "/response").await;
    invalid(json!({"response": " \n"}), "/response").await;
    invalid(json!({"response": "<absent>"}), "/response").await;
    invalid(json!({"response": 7}), "/response").await;
    invalid(json!({"instruction": ""}), "/instruction").await;
    invalid(json!({"instruction": "<absent>"}), "/instruction").await;
    invalid(json!({"instruction": null}), "/instruction").await;
    invalid(json!({"messages": [{"role": "user", "content": "Hi."}]}), "/messages").await;
    invalid(json!({"rubric": "<absent>"}), "/rubric").await;
    invalid(json!({"rubric": null}), "/rubric").await;
    invalid(json!({"rubric": 5}), "/rubric").await;
    invalid(json!({"rubric": []}), "/rubric").await;
    invalid(json!({"rubric": [{"rubric": "helpfulness", "weight": 0}]}), "/rubric/0/weight").await;
    for weight in [-1.0, 5e-324, 1e308] {
        let rubrics = json!([{"rubric": "helpfulness"}, {"rubric": "honesty", "weight": weight}]);
        invalid(json!({"rubric": rubrics}), "/rubric/1/weight").await;
    }
    invalid(json!({"rubric": [{"rubric": "helpfulness"}, {"weight": 1}]}), "/rubric/1/rubric").await;
    invalid(json!({"rubric": [{"rubric": "helpfulness"}, ["honesty"]]}), "/rubric/1").await;
    invalid(json!({"rubric": {"criterion": "x"}}), "/rubric/descriptions").await;
    invalid(json!({"rubric": {"criterion": "x", "descriptions": {"1": 1}}}), "/rubric/descriptions/1").await;
    invalid(json!({"mode": "both"}), "/mode").await;
    invalid(json!({"samples": 0}), "/samples").await;
    invalid(json!({"samples": -1}), "/samples").await;
    invalid(json!({"samples": 2}), "/samples").await;
    invalid(json!({"samples": 2, "mode": "score", "sampling": {"temperature": 1}}), "/samples").await;
    invalid(json!({"sampling": {"temperature": 5}}), "/sampling/temperature").await;
    invalid(json!({"sampling": {"temperature": -0.1}}), "/sampling/temperature").await;
    invalid(json!({"sampling": {"temperature": "hot"}}), "/sampling/temperature").await;
    invalid(json!({"sampling": {"top_p": 0}}), "/sampling/top_p").await;
    invalid(json!({"sampling": {"top_p": 1.5}}), "/sampling/top_p").await;
    invalid(json!({"sampling": {"seed": -1}}), "/sampling/seed").await;
    invalid(json!({"sampling": {"max_feedback_tokens": 0}}), "/sampling/max_feedback_tokens").await;
    invalid(json!({"sampling": [0.0]}), "/sampling").await;
    invalid(json!({"prompt": "nothing"}), "/prompt").await;
    invalid(json!({"cache": "yes"}), "/cache").await;
    invalid(json!({"context": "a document"}), "/context").await;
    invalid(json!({"context": [{"id": "doc1"}]}), "/context/0/text").await;
}

#[tokio::test]
async fn an_array_is_no_object() {
    let server = Server::with(example());
    check(&server, ABSOLUTE, &json!(["instruction", "response"]), 422, "invalid_request", "").await;
    check(&server, RELATIVE, &json!([]), 422, "invalid_request", "").await;
    let sampling = absolute(json!({"sampling": [0.5, 1.0, 0, 0.0, 7]}));
    check(&server, ABSOLUTE, &sampling, 422, "invalid_request", "/sampling").await;
    let context = absolute(json!({"context": [["doc1", "A document."]]}));
    check(&server, ABSOLUTE, &context, 422, "invalid_request", "/context/0").await;
    let messages = absolute(json!({"instruction": null, "messages": [["user", "Hi."]]}));
    check(&server, ABSOLUTE, &messages, 422, "invalid_request", "/messages/0").await;
}

#[tokio::test]
async fn conversations_end_with_the_user() {
    let server = Server::with(example());
    let conversation = |messages: Value| absolute(json!({"instruction": null, "messages": messages}));
    let invalid = async |messages: Value, pointer: &str| {
        check(&server, ABSOLUTE, &conversation(messages), 422, "invalid_request", pointer).await;
    };
    invalid(json!([]), "/messages").await;
    invalid(json!([{"role": "assistant", "content": "Hi."}]), "/messages").await;
    let turns = json!([{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]);
    invalid(turns, "/messages").await;
    invalid(json!([{"role": "robot", "content": "Hi."}]), "/messages/0/role").await;
    invalid(json!([{"role": "user"}]), "/messages/0/content").await;
    invalid(json!([{"role": "user", "content": 5}]), "/messages/0/content").await;

    let image = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}});
    let text = json!({"type": "text", "text": "What is this?"});
    let body = conversation(json!([{"role": "user", "content": [text, image]}]));
    check(&server, ABSOLUTE, &body, 422, "invalid_request", "/messages/0/content/1").await;
}

#[tokio::test]
async fn relative_fields_that_make_no_sense() {
    let server = Server::with(example());
    let invalid = async |change: Value, pointer: &str| {
        check(&server, RELATIVE, &relative(change), 422, "invalid_request", pointer).await;
    };
    invalid(json!({"response_a": ""}), "/response_a").await;
    invalid(json!({"response_b": " "}), "/response_b").await;
    invalid(json!({"response_b": "<absent>"}), "/response_b").await;
    invalid(json!({"tie_margin": 0.6}), "/tie_margin").await;
    invalid(json!({"tie_margin": -0.1}), "/tie_margin").await;
    invalid(json!({"method": "guess"}), "/method").await;
    invalid(json!({"swap": 1}), "/swap").await;
    invalid(json!({"rubric": [{"rubric": "helpfulness"}]}), "/rubric").await;
}

#[tokio::test]
async fn nothing_unknown_is_ignored() {
    let server = Server::with(example());
    let unknown = async |path: &str, body: Value, pointer: &str| {
        check(&server, path, &body, 422, "unknown_field", pointer).await;
    };
    unknown(ABSOLUTE, absolute(json!({"colour": "blue"})), "/colour").await;
    unknown(ABSOLUTE, absolute(json!({"response_a": "x"})), "/response_a").await;
    unknown(ABSOLUTE, absolute(json!({"a/b~c": 1})), "/a~1b~0c").await;
    unknown(ABSOLUTE, absolute(json!({"sampling": {"temprature": 0.5}})), "/sampling/temprature").await;
    unknown(ABSOLUTE, absolute(json!({"context": [{"text": "x", "title": "y"}]})), "/context/0/title").await;
    let mut inline = rubric(1, 2);
    inline["name"] = json!("mine");
    unknown(ABSOLUTE, absolute(json!({"rubric": inline})), "/rubric/name").await;
    let listed = json!([{"rubric": "helpfulness"}, {"rubric": rubric(1, 2), "wieght": 2}]);
    unknown(ABSOLUTE, absolute(json!({"rubric": listed})), "/rubric/1/wieght").await;
    let messages = json!([{"role": "user", "content": "Hi.", "mood": "good"}]);
    unknown(ABSOLUTE, absolute(json!({"instruction": null, "messages": messages})), "/messages/0/mood").await;
    unknown(RELATIVE, relative(json!({"response": "x"})), "/response").await;
}

#[tokio::test]
async fn nothing_unknown_is_ignored_in_the_parts_of_a_message() {
    let server = Server::with(example());
    let messages = json!([{"role": "user", "content": [{"type": "text", "text": "Hi.", "mood": "good"}]}]);
    let body = absolute(json!({"instruction": null, "messages": messages}));
    check(&server, ABSOLUTE, &body, 422, "unknown_field", "/messages/0/content/0/mood").await;
}

#[tokio::test]
async fn rubrics_and_models_that_do_not_exist() {
    let server = Server::with(example());
    check(&server, ABSOLUTE, &absolute(json!({"rubric": "nothing"})), 404, "unknown_rubric", "/rubric").await;
    let listed = absolute(json!({"rubric": [{"rubric": "helpfulness"}, {"rubric": "nothing"}]}));
    check(&server, ABSOLUTE, &listed, 404, "unknown_rubric", "/rubric/1/rubric").await;
    let found = check(&server, ABSOLUTE, &absolute(json!({"model": "gpt"})), 404, "unknown_model", "/model").await;
    assert!(found["detail"].as_str().unwrap().contains("scripted"), "it names what there is: {found}");
}

#[tokio::test]
async fn rubrics_that_do_not_hold_together() {
    let server = Server::with(example());
    let invalid = async |rubric: Value| {
        check(&server, ABSOLUTE, &absolute(json!({"rubric": rubric})), 422, "invalid_rubric", "/rubric").await;
    };
    let with = |descriptions: Value| json!({"criterion": "Is it good?", "descriptions": descriptions});
    invalid(with(json!({"1": "a", "2": "b", "4": "d", "5": "e"}))).await;
    invalid(with(json!({"1": "a", "2": ""}))).await;
    invalid(with(json!({"1": "a", "x": "b"}))).await;
    invalid(with(json!({"1": "a", "1.5": "b"}))).await;
    invalid(with(json!({}))).await;
    invalid(rubric(1, 1)).await;
    invalid(rubric(1, 12)).await;
    invalid(json!({"criterion": "", "descriptions": {"1": "a", "2": "b"}})).await;
    let listed = absolute(json!({"rubric": [{"rubric": rubric(1, 12)}]}));
    check(&server, ABSOLUTE, &listed, 422, "invalid_rubric", "/rubric/0/rubric").await;
}

#[tokio::test]
async fn a_prompt_that_does_not_fit_names_both_counts() {
    let server = Server::with(example());
    let response = server.post_json(ABSOLUTE, &absolute(json!({"response": "word ".repeat(9000)}))).await;
    let found = problem(&server, response, 422, "context_overflow").await;
    let detail = found["detail"].as_str().unwrap();
    let numbers: Vec<usize> = detail.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
    assert!(numbers.iter().any(|n| (9000..9500).contains(n)), "the prompt's tokens: {detail}");
    assert!(numbers.contains(&8192), "the model's: {detail}");
    assert!(detail.contains("scripted"), "{detail}");
    let more = absolute(json!({"sampling": {"max_feedback_tokens": 8192}}));
    problem(&server, server.post_json(ABSOLUTE, &more).await, 422, "context_overflow").await;
    let both = relative(json!({"response_b": "word ".repeat(9000)}));
    problem(&server, server.post_json(RELATIVE, &both).await, 422, "context_overflow").await;
}

#[tokio::test]
async fn bodies_that_are_not_json() {
    let server = Server::with(example());
    let malformed = async |body: &[u8]| {
        let response = send(&server, &[("Content-Type", "application/json")], body.to_vec()).await;
        problem(&server, response, 400, "malformed_json").await
    };
    let found = malformed(b"{\"instruction\": \"x\",\n oops}").await;
    assert!(found["detail"].as_str().unwrap().contains("line 2"), "it says where: {found}");
    malformed(b"").await;
    malformed(b"{").await;
    malformed(format!("{} x", absolute(json!({}))).as_bytes()).await;
    malformed(b"{\"response\": \"\xff\xfe\"}").await;
    malformed(b"{\"response\": \"\xed\xa0\x80\"}").await;
    malformed(format!("{{\"rubric\": {}", "[".repeat(100_000)).as_bytes()).await;
}

#[tokio::test]
async fn bodies_of_another_type() {
    let server = Server::with(example());
    let good = absolute(json!({})).to_string();
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "multipart/form-data"] {
        let response = send(&server, &[("Content-Type", kind)], good.clone()).await;
        problem(&server, response, 415, "unsupported_media_type").await;
    }
    for kind in ["application/json", "Application/JSON; charset=utf-8", "application/vnd.gavel+json"] {
        ok(send(&server, &[("Content-Type", kind)], good.clone()).await).await;
    }
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const GZIP: [(&str, &str); 2] = [("Content-Type", "application/json"), ("Content-Encoding", "gzip")];

#[tokio::test]
async fn gzip_is_understood() {
    let server = Server::with(example());
    let body = gzipped(absolute(json!({})).to_string().as_bytes());
    assert_eq!(ok(send(&server, &GZIP, body.clone()).await).await["score"], 2);
    let chunked = futures::stream::iter(body.into_iter().map(|byte| Ok::<_, std::io::Error>(vec![byte])));
    assert_eq!(ok(send(&server, &GZIP, Body::wrap_stream(chunked)).await).await["score"], 2);
}

#[tokio::test]
async fn encodings_that_are_not_understood() {
    let server = Server::with(example());
    let good = absolute(json!({})).to_string();
    for encoding in ["br", "zstd", "compress", "gibberish"] {
        let headers = [("Content-Type", "application/json"), ("Content-Encoding", encoding)];
        problem(&server, send(&server, &headers, good.clone()).await, 415, "unsupported_media_type").await;
    }
    let identity = [("Content-Type", "application/json"), ("Content-Encoding", "identity")];
    ok(send(&server, &identity, good).await).await;
}

#[tokio::test]
async fn broken_gzip_is_the_callers_fault() {
    let server = Server::with(example());
    let whole = gzipped(absolute(json!({})).to_string().as_bytes());
    for broken in [b"this is no gzip".to_vec(), whole[..whole.len() / 2].to_vec()] {
        let response = send(&server, &GZIP, broken).await;
        assert!(response.status().is_client_error(), "{response:?}");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }
    ok(send(&server, &GZIP, whole).await).await;
}

#[tokio::test]
async fn a_gzip_bomb_is_refused() {
    let server = Server::with(example());
    let bomb = gzipped(&vec![b' '; 64 * MEGABYTE]);
    assert!(bomb.len() < MEGABYTE);
    problem(&server, send(&server, &GZIP, bomb).await, 413, "payload_too_large").await;
}

#[tokio::test]
async fn a_large_body_is_told_so() {
    let server = Server::with(example());
    let json = [("Content-Type", "application/json")];
    let large = vec![b' '; 20 * MEGABYTE];
    problem(&server, send(&server, &json, large.clone()).await, 413, "payload_too_large").await;
    let chunks = large.chunks(1000).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect::<Vec<_>>();
    let response = send(&server, &json, Body::wrap_stream(futures::stream::iter(chunks))).await;
    problem(&server, response, 413, "payload_too_large").await;
    let mut fits = absolute(json!({})).to_string();
    fits.push_str(&" ".repeat(16 * MEGABYTE - fits.len()));
    ok(send(&server, &json, fits.clone()).await).await;
    fits.push(' ');
    problem(&server, send(&server, &json, fits).await, 413, "payload_too_large").await;
}

/// A caller that writes all of its body before it reads anything, as simple clients do.
#[tokio::test]
async fn the_answer_to_a_large_body_is_read_and_not_a_reset() {
    let server = Server::with(example());
    for chunked in [false, true] {
        let address = server.address;
        let answer = tokio::task::spawn_blocking(move || {
            let mut socket = std::net::TcpStream::connect(address).unwrap();
            socket.set_read_timeout(Some(crate::server::PATIENCE)).unwrap();
            let length = if chunked { "Transfer-Encoding: chunked" } else { "Content-Length: 20971520" };
            write!(socket, "POST {ABSOLUTE} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{length}\r\n\r\n")
                .unwrap();
            let piece = vec![b' '; MEGABYTE];
            for _ in 0..20 {
                if chunked {
                    write!(socket, "{:x}\r\n", piece.len()).unwrap();
                }
                socket.write_all(&piece).expect("the server reads on");
                if chunked {
                    socket.write_all(b"\r\n").unwrap();
                }
            }
            if chunked {
                socket.write_all(b"0\r\n\r\n").unwrap();
            }
            let mut answer = vec![0; 4096];
            let mut read = 0;
            while !answer[..read].ends_with(b"}") {
                let more = socket.read(&mut answer[read..]).expect("an answer, not a reset");
                assert!(more > 0, "the connection ended: {}", String::from_utf8_lossy(&answer[..read]));
                read += more;
            }
            String::from_utf8(answer[..read].to_vec()).unwrap()
        });
        let answer = answer.await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(answer.contains("\"code\":\"payload_too_large\""), "{answer}");
    }
}

#[tokio::test]
async fn the_limit_is_a_setting() {
    let server = Server::configured(&[("limits.body_bytes", "1000")], Some(example()));
    ok(server.post_json(ABSOLUTE, &absolute(json!({}))).await).await;
    let response = server.post_json(ABSOLUTE, &absolute(json!({"response": "x".repeat(1000)}))).await;
    problem(&server, response, 413, "payload_too_large").await;
}

#[tokio::test]
async fn deadlines_that_are_no_numbers() {
    let server = Server::with(example());
    for value in ["soon", "0", "-1", "1.5", "", "99999999999999999999"] {
        let request = server.post(ABSOLUTE).header("X-Request-Timeout-Ms", value).json(&absolute(json!({})));
        problem(&server, sent(request).await, 422, "invalid_request").await;
    }
    let request = server.post(ABSOLUTE).header("X-Request-Timeout-Ms", "60000").json(&absolute(json!({})));
    ok(sent(request).await).await;
}
