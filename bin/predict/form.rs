//! The forms in which predictions are printed.

use std::path::Path;
use std::str::FromStr;

use clap::ValueEnum;
use serde::Serialize;
use svp::data::text::{shown, shown_path};
use svp::report::table::{csv_line, percent};
use svp::train::{ranking, softmax};
use svp::{Error, Result};
use svp_cli::json_line;

/// What is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Csv,
    Jsonl,
}

/// Number of classes that are named.
#[derive(Debug, Clone, Copy)]
pub struct TopK(usize);

impl FromStr for TopK {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "all" => Ok(TopK(usize::MAX)),
            _ => {
                text.parse().ok().filter(|&n| n > 0).map(TopK).ok_or_else(|| "a number from 1, or all".into())
            }
        }
    }
}

/// Refuses probabilities of every class in the form for people.
pub fn check(format: Format, probabilities: bool) -> Result<()> {
    if format == Format::Text && probabilities {
        let what = "the form for people has no columns for every class";
        return Err(Error::input("--probabilities", what, "add --format csv or jsonl, or use --top-k all"));
    }
    Ok(())
}

/// A form, for the classes of a model.
pub struct Form<'a> {
    format: Format,
    top: usize,
    probabilities: bool,
    classes: &'a [String],
}

#[derive(Serialize)]
struct Prediction<'a> {
    image: String,
    predictions: Vec<Guess<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    probabilities: Option<Vec<f64>>,
}

#[derive(Serialize)]
struct Guess<'a> {
    class: &'a str,
    probability: f64,
}

impl<'a> Form<'a> {
    /// A form that names the `top` most probable classes.
    pub fn new(format: Format, TopK(top): TopK, probabilities: bool, classes: &'a [String]) -> Self {
        Form { format, top: top.min(classes.len()), probabilities, classes }
    }

    /// What stands above all predictions.
    pub fn header(&self) -> String {
        if self.format != Format::Csv {
            return String::new();
        }
        let guesses = (1..=self.top).flat_map(|i| [format!("class_{i}"), format!("probability_{i}")]);
        let every = if self.probabilities { self.classes } else { &[] };
        csv_line(["image".to_string()].into_iter().chain(guesses).chain(every.iter().cloned()))
    }

    /// The prediction of an image.
    pub fn lines(&self, image: &Path, logits: &[f32]) -> String {
        let probabilities = softmax(logits);
        let guess = |class: usize| Guess { class: &self.classes[class], probability: probabilities[class] };
        let predictions: Vec<Guess> = ranking(logits).into_iter().take(self.top).map(guess).collect();
        match self.format {
            Format::Text => {
                let line = |guess: &Guess| {
                    format!("{:>9}  {}\n", percent(guess.probability as f32), shown(guess.class))
                };
                let lines: String = predictions.iter().map(line).collect();
                format!("{}\n{lines}", shown_path(image))
            }
            Format::Csv => {
                let guesses = predictions.iter().flat_map(|g| [g.class.to_string(), number(g.probability)]);
                let every = if self.probabilities { &probabilities[..] } else { &[] };
                let every = every.iter().map(|&probability| number(probability));
                csv_line([image.display().to_string()].into_iter().chain(guesses).chain(every))
            }
            Format::Jsonl => {
                let probabilities = self.probabilities.then_some(probabilities);
                json_line(&Prediction { image: image.display().to_string(), predictions, probabilities })
            }
        }
    }
}

/// The shortest text that stands for a probability.
fn number(probability: f64) -> String {
    format!("{probability:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Logits whose softmax is 1/8, 1/2, 3/8.
    const LOGITS: [f32; 3] = [0.0, 1.386_294_4, 1.098_612_3];

    fn form(classes: &[String], format: Format, top: &str, probabilities: bool) -> String {
        let form = Form::new(format, top.parse().unwrap(), probabilities, classes);
        form.header() + &form.lines(Path::new("a,b.jpg"), &LOGITS)
    }

    #[test]
    fn every_form_has_what_was_asked_for() {
        let classes = ["cat", "=dog", "e\nmu"].map(String::from);
        assert_eq!(form(&classes, Format::Text, "2", false), "a,b.jpg\n   50.0 %  =dog\n   37.5 %  e\\nmu\n");
        let csv = form(&classes, Format::Csv, "1", true);
        let lines: Vec<&str> = csv.lines().collect();
        assert_eq!(lines[0], "image,class_1,probability_1,cat,'=dog,e\\nmu");
        let fields: Vec<&str> = lines[1].split(',').collect();
        assert_eq!((&fields[..3], lines.len()), (&["\"a", "b.jpg\"", "'=dog"][..], 2));
        let numbers: Vec<f64> = fields[3..].iter().map(|field| field.parse().unwrap()).collect();
        for (number, want) in numbers.iter().zip([0.5, 0.125, 0.5, 0.375]) {
            assert!((number - want).abs() < 1e-6, "{csv}");
        }
        let json = form(&classes, Format::Jsonl, "all", true);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let named: Vec<_> = json["predictions"].as_array().unwrap().iter().map(|g| &g["class"]).collect();
        assert_eq!(named, ["=dog", "e\nmu", "cat"]);
        assert_eq!(json["image"], "a,b.jpg");
        assert!((json["probabilities"][2].as_f64().unwrap() - 0.375).abs() < 1e-6);
        assert!(form(&classes, Format::Jsonl, "1", false).find("probabilities").is_none());
    }

    #[test]
    fn numbers_of_classes_begin_at_one() {
        for bad in ["0", "-1", "every", ""] {
            assert!(bad.parse::<TopK>().is_err(), "{bad}");
        }
        assert!(check(Format::Text, true).is_err() && check(Format::Csv, true).is_ok());
        assert_eq!((number(1e-20), number(0.5)), ("1e-20".into(), "0.5".into()));
    }
}
