//! A run as one page for the browser: a file of its own that asks the network for nothing, light or dark by the
//! reader's setting, readable on a phone.

mod classes;
mod confusion;
mod mistakes;
mod scales;
mod svg;
mod text;

use std::fmt::Write;

use super::chart::{rate_panel, run_panels};
use super::metrics::Record;
use super::table::count;

pub use confusion::Confusion;
pub use mistakes::Mistake;
pub use scales::{Scales, scale_charts};
use text::escape;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("sort.js");
/// Forbids the page everything but what it carries itself.
const POLICY: &str =
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'";

/// Names with their values, row by row.
pub type Facts = Vec<(String, String)>;

/// What stands where a method has nothing to show.
const NO_PROMPTS: &str = "<p>This run has no prompts, so there are no scales to show.</p>\n";

/// A part of the page with a heading.
pub struct Section {
    /// The heading.
    pub title: &'static str,
    /// A sentence below it, as HTML; may be empty.
    pub note: &'static str,
    /// The rest, as HTML.
    pub body: String,
}

/// What the page shows.
pub struct RunPage {
    pub title: String,
    /// What was trained, in a sentence.
    pub lead: String,
    /// The most important numbers.
    pub tiles: Facts,
    pub records: Vec<Record>,
    /// The images of matrix, classes and mistakes.
    pub measured_on: String,
    pub classes: Vec<String>,
    pub confusion: Confusion,
    /// Most confident first.
    pub mistakes: Vec<Mistake>,
    /// What the method shows of itself.
    pub method: Option<Section>,
    /// Module, trained parameters, all of them.
    pub parameters: Vec<(String, usize, usize)>,
    pub timing: Facts,
    pub config: Facts,
}

impl RunPage {
    /// The page as HTML.
    pub fn render(&self) -> String {
        let title = escape(&self.title);
        let on = escape(&self.measured_on);
        let mut page = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
             <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
             <header>\n<h1>{title}</h1>\n<p>{}</p>\n{}</header>\n",
            escape(&self.lead),
            facts(&self.tiles, "tiles"),
        );
        let mut section = |name: &str, note: &str, body: String| {
            let note =
                if note.is_empty() { String::new() } else { format!("<p class=\"note\">{note}</p>\n") };
            writeln!(page, "<section>\n<h2>{name}</h2>\n{note}{body}</section>").expect("to a string");
        };
        section("Curves", "", self.curves());
        let note = format!("{on}. Rows are the true classes, columns what the model says.");
        section("Confusion matrix", &note, confusion::matrix(&self.confusion, &self.classes));
        let note = format!("{on}. A click on a heading sorts.");
        section("Classes", &note, classes::table(&self.confusion, &self.classes));
        let note = "The true class, what the model says instead, and how sure it is.";
        section("Most confident mistakes", note, mistakes::gallery(&self.mistakes, &self.classes));
        match &self.method {
            Some(Section { title, note, body }) => section(title, note, body.clone()),
            None => section("Prompts", "", NO_PROMPTS.into()),
        }
        section("Parameters", "", parameters(&self.parameters));
        section("Timing", "", facts(&self.timing, "facts"));
        section("Config", "", facts(&self.config, "facts"));
        page + "</main>\n<script>\n" + SCRIPT + "</script>\n</body>\n</html>\n"
    }

    fn curves(&self) -> String {
        let mut panels = run_panels(&self.records);
        panels.push(rate_panel(&self.records));
        let charts: String = panels.iter().map(svg::lines).collect();
        format!("<div class=\"charts\">\n{charts}</div>\n")
    }
}

/// A list of names and values, looking as `class` says.
fn facts(facts: &Facts, class: &str) -> String {
    let fact = |(name, value): &(String, String)| {
        format!("<div><dt>{}</dt><dd>{}</dd></div>\n", escape(name), escape(value))
    };
    format!("<dl class=\"{class}\">\n{}</dl>\n", facts.iter().map(fact).collect::<String>())
}

fn parameters(parameters: &[(String, usize, usize)]) -> String {
    let row = |name: &str, trained: usize, all: usize| {
        let (trained, all) = (count(trained as u64), count(all as u64));
        format!("<tr><th scope=\"row\">{}</th><td>{trained}</td><td>{all}</td></tr>\n", escape(name))
    };
    let rows: String = parameters.iter().map(|(name, trained, all)| row(name, *trained, *all)).collect();
    let sum = |of: fn(&(String, usize, usize)) -> usize| parameters.iter().map(of).sum();
    let total = row("total", sum(|p| p.1), sum(|p| p.2));
    format!(
        "<div class=\"scroll\"><table class=\"numbers\">\n<thead><tr><th>module</th><th>trained</th><th>all</th>\
         </tr></thead>\n<tbody>\n{rows}</tbody>\n<tfoot>\n{total}</tfoot>\n</table></div>\n"
    )
}

#[cfg(test)]
mod tests;
