//! The pages of the server: its documentation as HTML and Markdown, and the page of the API (Swagger UI). Everything is
//! in the binary.

mod markdown;

use actix_web::http::header::{ACCEPT, LOCATION, VARY};
use actix_web::{HttpRequest, HttpResponse, web};
use include_dir::{Dir, include_dir};
use minijinja::{Environment, context};
use utoipa_swagger_ui::SwaggerUi;

use super::problem::{Code, Problem};

/// The documentation, as in the repository.
static PAGES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/docs");
const TEMPLATE: &str = include_str!("pages/page.html.j2");
/// The pages in reading order, by section.
const SECTIONS: [(&str, &[&str]); 4] = [
    ("Quickstarts", &["quickstart-evaluation", "quickstart-rlaif", "quickstart-harness", "quickstart-operator"]),
    ("Reference", &["api", "cli", "configuration", "errors", "metrics", "openai", "judge-models", "trainers"]),
    (
        "Judging",
        &[
            "judging",
            "rubrics",
            "prompts",
            "ranking",
            "agreement",
            "calibration",
            "redteam",
            "models",
            "engines",
            "remote",
        ],
    ),
    (
        "Running",
        &[
            "page",
            "batches",
            "security",
            "observability",
            "scaling",
            "performance",
            "compatibility",
            "releasing",
            "contributing",
            "architecture",
        ],
    ),
];

/// The API documentation, with all assets in the binary.
pub(super) fn api_page() -> SwaggerUi {
    SwaggerUi::new("/docs/openapi/{_:.*}").config(utoipa_swagger_ui::Config::from("/openapi.json"))
}

pub(super) async fn to_api_page() -> HttpResponse {
    HttpResponse::PermanentRedirect().insert_header((LOCATION, markdown::API)).finish()
}

/// The names of all pages, sorted.
pub(crate) fn names() -> Vec<&'static str> {
    let mut names: Vec<&str> = PAGES.files().filter_map(|file| file.path().file_stem()?.to_str()).collect();
    names.sort_unstable();
    names
}

/// The Markdown of a page.
pub(crate) fn source(name: &str) -> Option<&'static str> {
    PAGES.get_file(format!("{name}.md"))?.contents_utf8()
}

/// The list of all pages.
pub(super) async fn index() -> Result<HttpResponse, Problem> {
    let mut text =
        "# Gavel\n\nAn LLM-as-judge evaluation server. [Its page](/) shows a judge at work; [the API](/docs/openapi/) can be tried in the browser.\n"
            .to_owned();
    for (section, names) in SECTIONS {
        text.push_str(&format!("\n## {section}\n\n"));
        for (name, source) in names.iter().filter_map(|name| Some((name, source(name)?))) {
            let (title, about) = markdown::beginning(source);
            text.push_str(&format!("- [{title}]({name}.md): {about}\n"));
        }
    }
    html("Gavel", "", &text)
}

/// A page: HTML, or Markdown for a name that ends in `.md`, unless a browser asks.
pub(super) async fn page(http: HttpRequest, path: web::Path<String>) -> Result<HttpResponse, Problem> {
    let asked = path.into_inner();
    let accepts = http.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let (name, is_source) = match asked.strip_suffix(".md") {
        Some(name) => (name, !accepts.contains("text/html")),
        None => (asked.as_str(), false),
    };
    let missing = || Problem::new(Code::NotFound, format!("there is no page `{asked}`; /docs lists them"));
    let text = source(name).ok_or_else(missing)?;
    if is_source {
        let markdown =
            HttpResponse::Ok().insert_header((VARY, "accept")).content_type("text/markdown; charset=utf-8").body(text);
        return Ok(markdown);
    }
    let (title, _) = markdown::beginning(text);
    html(&title, name, text)
}

/// A picture of a page.
pub(super) async fn picture(path: web::Path<String>) -> Result<HttpResponse, Problem> {
    let missing = || Problem::new(Code::NotFound, format!("there is no picture `{path}`; /docs lists the pages"));
    let picture = PAGES.get_file(format!("images/{path}")).ok_or_else(missing)?;
    Ok(HttpResponse::Ok().content_type("image/png").body(picture.contents()))
}

fn html(title: &str, name: &str, text: &str) -> Result<HttpResponse, Problem> {
    let section = |(heading, names): &(&str, &[&str])| {
        let entries: Vec<_> = names
            .iter()
            .filter_map(|entry| {
                let (title, _) = markdown::beginning(source(entry)?);
                Some(context! { title, name => *entry, here => *entry == name })
            })
            .collect();
        context! { heading => *heading, entries }
    };
    let sections: Vec<_> = SECTIONS.iter().map(section).collect();
    let variables = context! { title, sections, body => markdown::html(text) };
    let mut environment = Environment::new();
    let page = environment
        .add_template("page.html", TEMPLATE)
        .and_then(|()| environment.get_template("page.html")?.render(variables));
    let page = page.map_err(|error| Problem::new(Code::Internal, format!("the page cannot be rendered: {error}")))?;
    Ok(HttpResponse::Ok().insert_header((VARY, "accept")).content_type("text/html; charset=utf-8").body(page))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_is_in_a_section_and_its_links_lead_somewhere() {
        let listed: Vec<&str> = SECTIONS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        for name in names() {
            assert!(listed.contains(&name), "{name} is in no section");
            let html = markdown::html(source(name).unwrap());
            for target in html.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
                let (page, anchor) = target.split_once('#').unwrap_or((target, ""));
                if target.starts_with("http") {
                    continue;
                }
                let page = if page.is_empty() { name } else { page.strip_prefix("/docs/").unwrap() };
                let found = source(page).map(markdown::html).unwrap_or_else(|| panic!("{name}: {target}"));
                assert!(anchor.is_empty() || found.contains(&format!("id=\"{anchor}\"")), "{name}: {target}");
            }
            for picture in html.split("<img src=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
                assert!(PAGES.get_file(picture).is_some(), "{name}: {picture}");
            }
        }
    }
}
