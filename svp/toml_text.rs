//! Settings in TOML: reading them, and showing them as people write them.

use std::path::Path;

use serde::de::DeserializeOwned;
use toml::Value;

use crate::{Error, Result};

/// Reads settings from the text of the file `path`.
///
/// # Errors
/// Text that is no TOML, or keys and values that do not fit; names the line, and gives `hint`.
pub fn parse<T: DeserializeOwned>(path: &Path, text: &str, hint: &str) -> Result<T> {
    toml::from_str(text).map_err(|e| {
        let line = e.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        Error::input(format!("{}, line {line}", path.display()), e.message().replace('\n', " "), hint)
    })
}

/// A value without the quotes of TOML.
pub fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
