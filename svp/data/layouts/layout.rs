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
    /// Image folders: `train/CLASS/*`, and `val` and `test` if there are any; or `CLASS/*`.
    Folder,
    /// One list of paths, classes and perhaps splits.
    Csv,
    /// Folders with a list `metadata.csv` or `metadata.jsonl`, as Hugging Face has them.
    Metadata,
    /// Tables like those of CUB-200-2011.
    Tables,
    /// Lists like those of Food-101.
    Lists,
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
            Layout::Csv => "csv",
            Layout::Metadata => "metadata",
            Layout::Tables => "tables",
            Layout::Lists => "lists",
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
            Layout::Csv => "list of images",
            Layout::Metadata => "folder with metadata",
            Layout::Tables => "tables like CUB-200-2011's",
            Layout::Lists => "lists like Food-101's",
            Layout::Vtab => "VTAB-1k lists",
            Layout::Json => "VPT-style splits",
            Layout::Known(known) => known.title,
        }
    }
}

impl FromStr for Layout {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        use Layout::{Auto, Csv, Folder, Json, Lists, Metadata, Tables, Vtab};
        const PLAIN: [Layout; 8] = [Auto, Folder, Csv, Metadata, Tables, Lists, Vtab, Json];
        let plain = PLAIN.into_iter().find(|layout| layout.name() == name);
        plain.or_else(|| Known::named(name).map(Layout::Known)).ok_or_else(|| {
            let hta: Vec<&str> = KNOWN.iter().map(|k| k.name).filter(|name| !name.contains('/')).collect();
            let plain = PLAIN.map(Layout::name).join(", ");
            let hint = format!("use {plain}, {} or vtab/TASK", hta.join(", "));
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
