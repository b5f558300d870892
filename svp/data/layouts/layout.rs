//! The names of layouts.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::known::{KNOWN, Known};
use crate::error::{Error, Result};

/// How a data set lies on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Layout {
    /// Whichever of the others fits.
    #[default]
    Auto,
    /// Image folders: `train/CLASS/*`, and `val` and `test` if there are any.
    Folder,
    /// VTAB-1k lists: `train800.txt`, `val200.txt`, `test.txt`.
    Vtab,
    /// VPT-style splits: `train.json`, `val.json`, `test.json`.
    Json,
    /// A published data set.
    Known(&'static Known),
}

impl Layout {
    /// The name by which `--dataset` knows it.
    pub fn name(self) -> &'static str {
        match self {
            Layout::Auto => "auto",
            Layout::Folder => "folder",
            Layout::Vtab => "vtab",
            Layout::Json => "json",
            Layout::Known(known) => known.name,
        }
    }

    /// The name for people.
    pub fn title(self) -> &'static str {
        match self {
            Layout::Auto => "whatever fits",
            Layout::Folder => "image folder",
            Layout::Vtab => "VTAB-1k lists",
            Layout::Json => "VPT-style splits",
            Layout::Known(known) => known.title,
        }
    }
}

impl FromStr for Layout {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let plain = [Layout::Auto, Layout::Folder, Layout::Vtab, Layout::Json];
        let plain = plain.into_iter().find(|layout| layout.name() == name);
        plain.or_else(|| Known::named(name).map(Layout::Known)).ok_or_else(|| {
            let hta: Vec<&str> = KNOWN.iter().map(|k| k.name).filter(|name| !name.contains('/')).collect();
            let hint = format!("use auto, folder, vtab, json, {} or vtab/TASK", hta.join(", "));
            Error::input("dataset", format!("unknown layout {name:?}"), hint)
        })
    }
}

impl TryFrom<String> for Layout {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        name.parse()
    }
}

impl From<Layout> for String {
    fn from(layout: Layout) -> String {
        layout.name().into()
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}
