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
/// The pages in reading order, by section: the name of each, and what it is for.
const SECTIONS: [(&str, &[(&str, &str)]); 4] = [
    (
        "Quickstarts",
        &[
            (
                "quickstart-evaluation",
                "Grade a file of answers, compare two runs, and measure the judge with your labels.",
            ),
            ("quickstart-rlaif", "Rewards and preference pairs for TRL, verl and OpenRLHF."),
            ("quickstart-harness", "Gavel as the judge of evaluation harnesses and of OpenAI clients."),
            ("quickstart-operator", "Install, configure, secure and watch a server."),
        ],
    ),
    (
        "Reference",
        &[
            ("api", "The core HTTP API: requests, verdicts and every field."),
            ("cli", "Every command, with file formats and exit codes."),
            ("configuration", "Every setting and its default."),
            ("errors", "Every error code, its status, and what to do."),
            ("metrics", "Every Prometheus metric."),
            ("openai", "The routes of OpenAI's API, and what they ignore."),
            ("judge-models", "Your own judging prompts behind a model name."),
            ("trainers", "The routes of trainers, tools and reward servers."),
        ],
    ),
    (
        "Judging",
        &[
            ("judging", "How far the default judge agrees with people, on nine labelled sets."),
            ("rubrics", "The built-in rubrics, and how to write your own."),
            ("prompts", "Prompt sets, and what keeps judged text from giving orders."),
            ("ranking", "Rankings and preference pairs of many responses."),
            ("methods", "Segments, labels, checklists, claims, critiques, refinements."),
            ("pictures", "Answers about pictures: what is accepted, limits, models with eyes."),
            ("juries", "Several judges of one request, annotators, samples until they agree."),
            ("agreement", "Measure how far a judge agrees with people."),
            ("calibration", "Map a judge's numbers to people's labels."),
            ("routing", "Send verdicts to people where the judge is likely to be wrong."),
            ("traces", "Judgements that match labels, as training data for the judge."),
            ("redteam", "Measure what attacks in the judged text do to the reward."),
            ("models", "The judges that Gavel knows, and how to get one."),
            ("engines", "What runs a model, and how it is checked."),
            ("remote", "Judge on vLLM, SGLang, llama-server or a provider."),
        ],
    ),
    (
        "Running",
        &[
            ("page", "The page at `/`: playground, runs, jobs, server."),
            ("batches", "Files of requests that are answered through restarts."),
            ("reviews", "A queue of judgements that people make."),
            ("reliability", "What holds when something fails, and what was tried."),
            ("security", "API keys, and the threats with their tests."),
            ("observability", "Logs, metrics, traces, dashboards and the shutdown."),
            ("scaling", "Cost of verdicts, sizes of servers, routers."),
            ("performance", "Measured speed, and how to measure yours."),
            ("compatibility", "What real clients and servers got from Gavel."),
            ("releasing", "Versions, and how a release is made."),
            ("contributing", "Build, test and extend Gavel."),
            ("architecture", "The modules, and the reasons behind them."),
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

/// The names of all pages in reading order, and what each is for.
pub(crate) fn purposes() -> impl Iterator<Item = (&'static str, &'static str)> {
    SECTIONS.iter().flat_map(|(_, pages)| pages.iter().copied())
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
    for (section, pages) in &SECTIONS {
        text.push_str(&format!("\n## {section}\n\n"));
        for (name, purpose) in *pages {
            let title = source(name).map(markdown::title).unwrap_or_default();
            text.push_str(&format!("- [{title}]({name}.md): {purpose}\n"));
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
    html(&markdown::title(text), name, text)
}

/// A picture of a page.
pub(super) async fn picture(path: web::Path<String>) -> Result<HttpResponse, Problem> {
    let missing = || Problem::new(Code::NotFound, format!("there is no picture `{path}`; /docs lists the pages"));
    let picture = PAGES.get_file(format!("images/{path}")).ok_or_else(missing)?;
    Ok(HttpResponse::Ok().content_type("image/png").body(picture.contents()))
}

fn html(title: &str, name: &str, text: &str) -> Result<HttpResponse, Problem> {
    let section = |(heading, pages): &(&str, &[(&str, &str)])| {
        let entry = |(entry, _): &(&str, &str)| {
            Some(context! { title => markdown::title(source(entry)?), name => *entry, here => *entry == name })
        };
        let entries: Vec<_> = pages.iter().filter_map(entry).collect();
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
        let listed: Vec<&str> = SECTIONS.iter().flat_map(|(_, pages)| pages.iter().map(|(name, _)| *name)).collect();
        assert_eq!(listed.len(), names().len(), "a page that is not there is listed");
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
