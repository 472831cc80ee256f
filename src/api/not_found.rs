//! Paths that are no routes, and the route that was meant.

use actix_web::{HttpRequest, HttpResponse, web};
use utoipa::openapi::{OpenApi, PathItem};

use super::problem::{Code, ErrorFormat, Problem};
use crate::domain::spelling::nearest;

/// Prefixes of routes below /v1 that OpenAI's API does not have.
const OWN: [&str; 13] = [
    "/v1/grade",
    "/v1/reports",
    "/v1/critique",
    "/v1/refine",
    "/v1/rank",
    "/v1/rewards",
    "/v1/preferences",
    "/v1/rubrics",
    "/v1/reviews",
    "/v1/verdicts",
    "/v1/info",
    "/v1/usage",
    "/v1/errors",
];
/// Routes that the OpenAPI document does not have.
const PAGES: [&str; 2] = ["/docs", "/openapi.json"];

/// Every route: its path, as in the OpenAPI document, and its methods.
pub(super) struct Routes(Vec<(String, String)>);

impl Routes {
    /// Those of the document, and the pages.
    pub(super) fn of(document: &OpenApi) -> Self {
        let documented = document.paths.paths.iter().map(|(path, item)| (path.clone(), methods(item)));
        Self(documented.chain(PAGES.map(|page| (page.to_owned(), "GET".to_owned()))).collect())
    }

    /// The paths below /v1 that clients of OpenAI's API may mean, without those that have variable parts.
    fn of_openai(&self) -> String {
        let paths = self.0.iter().map(|(path, _)| path.as_str());
        let paths = paths.filter(|path| path.starts_with("/v1/") && !path.contains('{') && !is_own(path));
        paths.collect::<Vec<_>>().join(", ")
    }

    /// The route that a path is close to, and its methods: one of as many parts, each alike; or one that goes on where
    /// the path ends. Variable parts are those of the path.
    fn near(&self, path: &str) -> Option<(String, &str)> {
        let alike = self.0.iter().filter_map(|(route, methods)| {
            let (slips, filled) = filled(route, path)?;
            Some((slips, filled, methods.as_str()))
        });
        let nearest = alike.min_by_key(|(slips, ..)| *slips).map(|(_, route, methods)| (route, methods));
        let below = format!("{path}/");
        let longer = || self.0.iter().find(|(route, _)| path.len() > 1 && route.starts_with(&below));
        nearest.or_else(|| longer().map(|(route, methods)| (route.clone(), methods.as_str())))
    }
}

/// Whether a path is below one of Gavel's own routes.
fn is_own(path: &str) -> bool {
    OWN.iter().any(|route| path.starts_with(route))
}

fn methods(item: &PathItem) -> String {
    let all = [("GET", &item.get), ("POST", &item.post), ("PUT", &item.put), ("DELETE", &item.delete)];
    let taken: Vec<&str> = all.iter().filter(|(_, operation)| operation.is_some()).map(|(name, _)| *name).collect();
    taken.join(", ")
}

/// A route of as many parts as a path, with its variable parts filled in, and in how many parts they differ. None if a
/// part is not even close.
fn filled(route: &str, path: &str) -> Option<(usize, String)> {
    let (parts, given): (Vec<&str>, Vec<&str>) = (route.split('/').collect(), path.split('/').collect());
    if parts.len() != given.len() {
        return None;
    }
    let (mut slips, mut whole) = (0, Vec::with_capacity(parts.len()));
    for (part, given) in parts.into_iter().zip(given) {
        let variable = part.starts_with('{');
        if !variable && part != given {
            nearest(given, [part])?;
            slips += 1;
        }
        whole.push(if variable { given } else { part });
    }
    Some((slips, whole.join("/")))
}

/// For every path that is not a route.
pub(super) async fn not_found(http: HttpRequest, routes: web::Data<Routes>) -> Result<HttpResponse, Problem> {
    let mut detail = format!("{} {} is not a route", http.method(), http.path());
    let below = format!("/v1{}", http.path());
    // Clients of OpenAI's API show its form of errors only.
    let lacks_version = http.resource_map().has_resource(&below);
    if lacks_version {
        detail.push_str(&format!("; did you mean {below}? The base URL ends in /v1"));
    } else if let Some((route, methods)) = routes.near(http.path()) {
        detail.push_str(&format!("; did you mean {route} ({methods})?"));
    } else if http.path().starts_with("/v1/") {
        detail.push_str(&format!("; there are {}, and those that /openapi.json lists", routes.of_openai()));
    }
    let problem = Problem::new(Code::NotFound, detail);
    Err(if lacks_version || http.path().starts_with("/v1/") && !is_own(http.path()) {
        problem.in_form(ErrorFormat::OpenAi)
    } else {
        problem
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_that_was_meant_is_found() {
        let routes = Routes::of(&crate::api::document());
        let check = |path: &str, expected: Option<(&str, &str)>| {
            let found = routes.near(path);
            assert_eq!(found.as_ref().map(|(route, methods)| (route.as_str(), *methods)), expected, "{path}");
        };
        check("/v1/grade/absolut", Some(("/v1/grade/absolute", "POST")));
        check("/v1/grades/relative", Some(("/v1/grade/relative", "POST")));
        check("/v1/reward", Some(("/v1/rewards", "POST")));
        check("/v1/rubric/honesty", Some(("/v1/rubrics/honesty", "GET, PUT, DELETE")));
        check("/v1/chat/completion", Some(("/v1/chat/completions", "POST")));
        check("/compat/openrhlf/honesty", Some(("/compat/openrlhf/honesty", "POST")));
        check("/metric", Some(("/metrics", "GET")));
        check("/doc", Some(("/docs", "GET")));
        check("/v1/grade", Some(("/v1/grade/absolute", "POST")));
        check("/v1/images/generations", None);
        check("/nothing", None);
        check("/", None);
        check(&format!("/v1/{}", "x".repeat(1 << 16)), None);
    }
}
