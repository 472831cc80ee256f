//! TLS, and pages of other origins.

use gavel::config::TlsConfig;
use reqwest::{Certificate, Client, Method};
use serde_json::json;

use crate::engines::example;
use crate::server::{Server, absolute, sent};

/// A certificate for `localhost` and its key, in PEM.
fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// The status of an answer over TLS, for a caller who trusts only this certificate.
async fn over_tls(server: &Server, trusted: &str) -> Result<u16, reqwest::Error> {
    let roots = [Certificate::from_pem(trusted.as_bytes()).unwrap()];
    let client = Client::builder().no_proxy().tls_certs_only(roots).build().unwrap();
    let url = format!("https://localhost:{}/v1/grade/absolute", server.address.port());
    Ok(client.post(url).json(&absolute(json!({}))).send().await?.status().as_u16())
}

#[tokio::test]
async fn connections_are_encrypted_with_the_certificate_as_it_is_now() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let write = |(certificate, private): &(String, String)| {
        std::fs::write(&cert, certificate).unwrap();
        std::fs::write(&key, private).unwrap();
    };
    let (first, second) = (certificate(), certificate());
    write(&first);
    let paths = [cert.display().to_string(), key.display().to_string()];
    let settings = [("tls.certificate", paths[0].as_str()), ("tls.key", paths[1].as_str())];
    let server = Server::configured(&settings, Some(example()));
    assert_eq!(over_tls(&server, &first.0).await.unwrap(), 200);
    assert!(over_tls(&server, &second.0).await.is_err(), "another certificate is not trusted");
    write(&second);
    assert_eq!(over_tls(&server, &second.0).await.unwrap(), 200);
    // What cannot be used changes nothing.
    std::fs::write(&cert, "not a certificate").unwrap();
    assert_eq!(over_tls(&server, &second.0).await.unwrap(), 200);
    let plain = server.client.get(format!("{}/livez", server.url)).send().await;
    assert!(plain.is_err() || plain.unwrap().status().is_client_error(), "nothing is answered without TLS");
}

#[test]
fn certificates_that_cannot_be_used_are_found_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (one, other) = (certificate(), certificate());
    for (name, text) in [("cert", &one.0), ("key", &one.1), ("other", &other.1), ("junk", &"junk".to_owned())] {
        std::fs::write(path(name), text).unwrap();
    }
    let check = |certificate: &str, key: &str, expected: &str| {
        let config = TlsConfig { certificate: path(certificate), key: path(key) };
        let found = gavel::api::tls::check(&config).map_err(|error| error.to_string());
        match expected {
            "" => assert_eq!(found, Ok(())),
            expected => assert!(found.as_ref().is_err_and(|found| found.contains(expected)), "{found:?}"),
        }
    };
    check("cert", "key", "");
    check("missing", "key", "tls.certificate");
    check("junk", "key", "no certificate");
    check("cert", "missing", "tls.key");
    check("cert", "junk", "tls.key");
    check("cert", "other", "do not go together");
}

#[tokio::test]
async fn pages_of_other_origins_need_to_be_named() {
    let ask = async |server: &Server, method: Method, origin: &str| {
        let request = server.client.request(method, format!("{}/v1/grade/absolute", server.url));
        let request = request.header("origin", origin).header("access-control-request-method", "POST");
        let answer = sent(request.header("access-control-request-headers", "authorization,content-type")).await;
        let allowed = answer.headers().get("access-control-allow-origin");
        (answer.status().as_u16(), allowed.map(|origin| origin.to_str().unwrap().to_owned()))
    };
    let closed = Server::with(example());
    let (status, allowed) = ask(&closed, Method::OPTIONS, "https://a.example").await;
    assert_eq!((status, allowed), (405, None));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("gavel.toml"), "[cors]\norigins = [\"https://a.example\"]\n").unwrap();
    let open = Server::of_file(folder);
    let (status, allowed) = ask(&open, Method::OPTIONS, "https://a.example").await;
    assert_eq!((status, allowed.as_deref()), (200, Some("https://a.example")));
    let (status, allowed) = ask(&open, Method::OPTIONS, "https://b.example").await;
    assert_eq!((status, allowed), (400, None));
}
