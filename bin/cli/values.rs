//! Values of flags and config files that are more than plain numbers and names.

use std::result::Result as Parsed;
use std::str::FromStr;

use clap::builder::{PossibleValue, PossibleValuesParser};
use serde::Deserialize;
use serde::de::value::{Error as WordError, StrDeserializer};
use serde::de::{DeserializeOwned, IntoDeserializer};
use svp::data::RandAugment;
use svp::methods::METHODS;
use svp::train::Precision;
use svp::{Error, Result};

/// Reads a flag's word with the deserializer that the type has for files.
///
/// A word that the type does not know; the message lists the known ones.
pub fn word<T: DeserializeOwned>(text: &str) -> Parsed<T, String> {
    let text: StrDeserializer<WordError> = text.into_deserializer();
    T::deserialize(text).map_err(|e| e.to_string())
}

/// Accepts the names of the methods, with a line of help about each.
pub fn methods() -> PossibleValuesParser {
    let name = |entry: &&svp::methods::Entry| PossibleValue::new(entry.name).help(entry.about);
    PossibleValuesParser::new(METHODS.iter().map(name))
}

/// A RandAugment policy; `None` for the word `none`.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct AutoAugment(pub Option<RandAugment>);

impl FromStr for AutoAugment {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(AutoAugment(if text == "none" { None } else { Some(text.parse()?) }))
    }
}

impl TryFrom<String> for AutoAugment {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

/// Several numbers, parted by commas on the command line.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct Shares(pub Vec<f64>);

impl FromStr for Shares {
    type Err = String;

    fn from_str(text: &str) -> Parsed<Self, String> {
        let number = |part: &str| part.trim().parse().map_err(|_| format!("{part:?} is no number"));
        text.split(',').map(number).collect::<Parsed<_, _>>().map(Shares)
    }
}

/// A precision, or the one that hardware and model allow.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrecisionChoice {
    /// bf16 where the hardware multiplies it and the model stays what it is, else f32.
    Auto,
    /// [`Precision::F32`]
    F32,
    /// [`Precision::Tf32`]
    Tf32,
    /// [`Precision::Bf16`]
    Bf16,
}

impl PrecisionChoice {
    /// The precision, where it is not to be found first.
    pub fn fixed(self) -> Option<Precision> {
        match self {
            PrecisionChoice::Auto => None,
            PrecisionChoice::F32 => Some(Precision::F32),
            PrecisionChoice::Tf32 => Some(Precision::Tf32),
            PrecisionChoice::Bf16 => Some(Precision::Bf16),
        }
    }
}

impl From<Precision> for PrecisionChoice {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => PrecisionChoice::F32,
            Precision::Tf32 => PrecisionChoice::Tf32,
            Precision::Bf16 => PrecisionChoice::Bf16,
        }
    }
}

/// A batch size: a number, or as many images as fit.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "toml::Value")]
pub enum BatchSize {
    /// The most images that fit into memory.
    Auto,
    /// This many images.
    Images(usize),
}

impl FromStr for BatchSize {
    type Err = String;

    fn from_str(text: &str) -> Parsed<Self, String> {
        match text {
            "auto" => Ok(BatchSize::Auto),
            _ => text.parse().map(BatchSize::Images).map_err(|_| "a batch size is a number, or auto".into()),
        }
    }
}

impl TryFrom<toml::Value> for BatchSize {
    type Error = String;

    fn try_from(value: toml::Value) -> Parsed<Self, String> {
        match value {
            toml::Value::Integer(n) => n.to_string().parse(),
            toml::Value::String(text) => text.parse(),
            _ => Err("a batch size is a number, or auto".into()),
        }
    }
}
