//! What `svp-eval` reports.

use serde::Serialize;
use svp::confusion::{ClassScore, Means};
use svp::data::text::shown;
use svp::data::{NoiseForm, PictureNoise};
use svp::examination::Examination;
use svp::report::Table;
use svp::report::table::{count, percent};
use svp::train::Evaluation;
use svp_cli::{Images, Split};

/// Most images that are named because they could not be read.
const NAMED: usize = 20;

/// The result, as it is printed.
#[derive(Serialize)]
pub struct Report<'a> {
    data: String,
    split: Split,
    #[serde(skip_serializing_if = "Option::is_none")]
    noise: Option<NoiseOn>,
    classes: &'a [String],
    #[serde(flatten)]
    evaluation: &'a Evaluation,
    /// Precision, recall and F1 of each class.
    scores: Vec<ClassScore>,
    /// Their means over the classes that have images.
    #[serde(rename = "macro")]
    means: Option<Means>,
    balanced_accuracy: Option<f64>,
    calibration_error: f64,
    broken_images: Vec<String>,
}

/// The noise on the images.
#[derive(Serialize)]
struct NoiseOn {
    rate: f64,
    form: NoiseForm,
    seed: u64,
}

impl<'a> Report<'a> {
    /// The report of an examination.
    pub fn new(data: String, images: &Images, classes: &'a [String], found: &'a Examination) -> Self {
        let scores = found.confusion.scores(classes.len());
        let means = Means::of(&scores);
        Report {
            data,
            split: images.split,
            noise: images.noise.map(|PictureNoise { rate, form, seed, .. }| NoiseOn { rate, form, seed }),
            classes,
            evaluation: &found.found,
            balanced_accuracy: means.as_ref().map(|means| means.recall),
            scores,
            means,
            calibration_error: found.calibration_error,
            broken_images: images.feed.broken(),
        }
    }

    /// The report for people.
    pub fn text(&self) -> String {
        let evaluation = self.evaluation;
        let means = self.means.as_ref().map_or(String::new(), |means| {
            let [precision, recall, f1] = [means.precision, means.recall, means.f1].map(share);
            let calibration = share(self.calibration_error);
            format!(
                "balanced accuracy {recall}, mean precision {precision}, mean F1 {f1}, calibration error {calibration}\n"
            )
        });
        // Of five classes or fewer, every image is among the first five.
        let top5 = match self.classes.len() {
            ..=5 => String::new(),
            _ => format!(" top-5 {},", share(evaluation.top5)),
        };
        format!(
            "{}\n{}{means}{} of {}{}: top-1 {},{top5} loss {:.4}, {} images\n",
            self.table(),
            self.left_out(),
            capital(self.split.title()),
            shown(&self.data),
            self.noise.as_ref().map_or(String::new(), |on| {
                format!(", with noise at a rate of {} ({}, seed {})", on.rate, on.form, on.seed)
            }),
            share(evaluation.top1),
            evaluation.loss,
            count(evaluation.images as u64),
        )
    }

    /// A row for every class that has images, and how many have none.
    fn table(&self) -> String {
        let mut table = Table::new(["class", "recall", "precision", "F1", "correct", "images"]);
        let optional = |value: Option<f64>| value.map_or_else(|| "-".into(), share);
        let mut absent = 0;
        for ((class, score), &(correct, images)) in
            self.classes.iter().zip(&self.scores).zip(&self.evaluation.per_class)
        {
            if images == 0 {
                absent += 1;
                continue;
            }
            table.row([
                class.clone(),
                optional(score.recall),
                optional(score.precision),
                optional(score.f1),
                count(correct as u64),
                count(images as u64),
            ]);
        }
        match absent {
            0 => table.to_string(),
            1 => format!("{table}1 class of the model has no images here\n"),
            n => format!("{table}{} classes of the model have no images here\n", count(n)),
        }
    }

    fn left_out(&self) -> String {
        let all = &self.broken_images;
        let mut lines: String =
            all.iter().take(NAMED).map(|reason| format!("left out: {reason}\n")).collect();
        match all.len() {
            0 => {}
            1 => lines.push_str("1 image could not be read\n"),
            n => lines.push_str(&format!("{n} images could not be read; --json lists all of them\n")),
        }
        lines
    }
}

fn share(value: f64) -> String {
    percent(value as f32)
}

/// The text as a sentence begins with it, without an article.
fn capital(text: &str) -> String {
    let text = text.trim_start_matches("the ");
    let (first, rest) = text.split_at(1);
    first.to_uppercase() + rest
}
