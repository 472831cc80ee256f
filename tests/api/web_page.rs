//! The page at `/`: its files, and what browsers are told about them.

use std::time::SystemTime;

use gavel::keys::{self, Key, Scope};

use crate::server::{Server, problem, sent};

#[tokio::test]
async fn the_page_and_all_that_it_loads_are_here() {
    let server = Server::configured(&[], None);
    // The page is open while keys are on: it asks for one.
    let key = Key::wanted("a", vec![Scope::Grade], SystemTime::now()).unwrap();
    keys::create(&keys::file_in(&server.data_dir()), key).unwrap();
    problem(&server, server.get("/v1/info").await, 401, "unauthenticated").await;
    let page = server.get("/").await;
    assert_eq!(page.status(), 200);
    let header = |response: &reqwest::Response, name: &str| {
        response.headers().get(name).unwrap_or_else(|| panic!("{name}")).to_str().unwrap().to_owned()
    };
    assert_eq!(header(&page, "content-type"), "text/html; charset=utf-8");
    assert_eq!(header(&page, "cache-control"), "no-cache");
    let policy = header(&page, "content-security-policy");
    assert!(policy.starts_with("default-src 'self';") && !policy.contains("unsafe"), "{policy}");
    let with_data: Vec<&str> = policy.split("; ").filter(|rule| rule.contains("data:")).collect();
    assert_eq!(with_data, ["img-src 'self' data:"], "data is shown as images, and never runs");
    let tag = header(&page, "etag");
    for (known, status) in [(tag.as_str(), 304), ("\"another\"", 200), ("*", 304)] {
        let again = sent(server.client.get(&server.url).header("if-none-match", known)).await;
        assert_eq!((again.status().as_u16(), header(&again, "etag")), (status, tag.clone()), "{known}");
        assert_eq!(again.text().await.unwrap().is_empty(), status == 304, "{known}");
    }
    let html = page.text().await.unwrap();
    let named = html.split('"').filter(|text| text.starts_with("/web/")).collect::<Vec<_>>();
    for ending in [".js", ".css", ".svg"] {
        assert!(named.iter().any(|name| name.ends_with(ending)), "{ending}: {html}");
    }
    assert!(!html.contains("://") && !html.contains("<style"), "{html}");
    for name in named {
        let file = server.get(name).await;
        assert_eq!(file.status(), 200, "{name}");
        let kind = header(&file, "content-type");
        assert!(
            ["text/javascript; charset=utf-8", "text/css; charset=utf-8", "image/svg+xml"].contains(&kind.as_str())
        );
        assert!(header(&file, "cache-control").contains("immutable"), "{name}");
        assert_eq!(header(&file, "x-content-type-options"), "nosniff");
    }
    for missing in ["/web/nothing.js", "/web/%2e%2e%2fCargo.toml"] {
        problem(&server, server.get(missing).await, 404, "not_found").await;
    }
}
