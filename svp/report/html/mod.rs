//! A run as one page for the browser. The page holds everything it shows and asks the network for nothing; it is light
//! or dark as the reader's system is, and can be read on a phone.
//!
//! [`RunPage`] takes text and numbers only, so that anything that knows a run can fill it.

mod classes;
mod confusion;
mod mistakes;
mod section;
mod svg;
mod text;

use std::fmt::Write;

use super::chart::{range_panel, rate_panel, run_panels};
use super::lr_range::LrRange;
use super::metrics::Record;
use super::table::count;
use crate::confusion::Confusion;
use text::escape;

pub use mistakes::Mistake;
pub use section::{Figure, Section};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("sort.js");
/// Forbids the page to load or run anything but what it holds.
const POLICY: &str =
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'";

/// Names with their values, in order.
pub type Facts = Vec<(String, String)>;

/// What the page shows.
pub struct RunPage {
    /// The name of the run.
    pub title: String,
    /// What was trained, in a sentence.
    pub lead: String,
    /// The most important numbers.
    pub tiles: Facts,
    /// The metrics of the run, for its curves.
    pub records: Vec<Record>,
    /// The range test that found the learning rate, where one did.
    pub range: Option<LrRange>,
    /// On which images confusion matrix, classes and mistakes were measured, as the beginning of a sentence.
    pub measured_on: String,
    /// The names of the classes, by their numbers.
    pub classes: Vec<String>,
    /// How often each class was taken for each.
    pub confusion: Confusion,
    /// Images with a wrong prediction, the most confident first.
    pub mistakes: Vec<Mistake>,
    /// What the method has learned.
    pub sections: Vec<Section>,
    /// For each module its name, the number of its trained parameters, and of all.
    pub parameters: Vec<(String, usize, usize)>,
    /// How long the run took.
    pub timing: Facts,
    /// The settings of the run.
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
        for own in &self.sections {
            section(&escape(&own.heading), "", own.body());
        }
        section("Parameters", "", parameters(&self.parameters));
        section("Timing", "", facts(&self.timing, "facts"));
        section("Config", "", facts(&self.config, "facts"));
        page + "</main>\n<script>\n" + SCRIPT + "</script>\n</body>\n</html>\n"
    }

    fn curves(&self) -> String {
        let mut panels = run_panels(&self.records);
        panels.push(rate_panel(&self.records));
        panels.extend(self.range.as_ref().map(range_panel));
        let charts: String = panels.iter().map(svg::lines).collect();
        format!("<div class=\"charts\">\n{charts}</div>\n")
    }
}

/// A list of names and values in the style `class`.
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
