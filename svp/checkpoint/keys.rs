//! Compares the tensors of a file with those of a model.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use crate::{Error, Result};

/// How many names of each kind the one-line summary shows.
const SHOWN: usize = 3;

/// A tensor whose shape in the file is not that in the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MisShaped {
    /// State-dict name of the tensor.
    pub name: String,
    /// Shape in the model.
    pub want: Vec<usize>,
    /// Shape in the file.
    pub got: Vec<usize>,
}

/// The differences between a model and a file. It displays as the full listing, one line for each tensor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyReport {
    /// Tensors of the model alone, in the model's order.
    pub missing: Vec<String>,
    /// Tensors of the file alone, sorted by name.
    pub unexpected: Vec<String>,
    /// Tensors of both in different shapes, in the model's order.
    pub mis_shaped: Vec<MisShaped>,
}

impl KeyReport {
    /// Compares the names and shapes that a model expects with those that a file has.
    pub fn new<'a>(
        expected: &[(String, Vec<usize>)],
        found: impl IntoIterator<Item = (&'a str, &'a [usize])>,
    ) -> Self {
        let mut found: BTreeMap<_, _> = found.into_iter().collect();
        let mut report = KeyReport::default();
        for (name, want) in expected {
            match found.remove(name.as_str()) {
                None => report.missing.push(name.clone()),
                Some(got) if got != want => {
                    let (name, want, got) = (name.clone(), want.clone(), got.to_vec());
                    report.mis_shaped.push(MisShaped { name, want, got });
                }
                Some(_) => {}
            }
        }
        report.unexpected = found.into_keys().map(String::from).collect();
        report
    }

    /// Drops the differences in tensors for which `ignored` returns true, such as a head that is replaced anyway.
    pub fn without(mut self, ignored: impl Fn(&str) -> bool) -> Self {
        self.missing.retain(|name| !ignored(name));
        self.unexpected.retain(|name| !ignored(name));
        self.mis_shaped.retain(|tensor| !ignored(&tensor.name));
        self
    }

    /// Whether every tensor fits.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.mis_shaped.is_empty()
    }

    /// One line with the number of differences of each kind and the first few names.
    pub fn summary(&self) -> String {
        let shapes: Vec<_> = self.mis_shaped.iter().map(MisShaped::to_string).collect();
        let kinds = [("missing", &self.missing), ("unexpected", &self.unexpected), ("mis-shaped", &shapes)];
        let kinds = kinds.iter().filter(|(_, names)| !names.is_empty()).map(|(kind, names)| {
            let more = if names.len() > SHOWN { ", ..." } else { "" };
            format!("{} {kind} ({}{more})", names.len(), names[..names.len().min(SHOWN)].join(", "))
        });
        let kinds: Vec<_> = kinds.collect();
        if kinds.is_empty() { "all tensors fit".into() } else { kinds.join(", ") }
    }

    /// Accepts a file that fits, or any file where differences are `allowed`.
    ///
    /// # Errors
    /// Any difference otherwise; the message ends with `how_to_allow`, such as "pass --allow-mismatch to load it
    /// anyway".
    pub fn require(&self, path: &Path, allowed: bool, how_to_allow: &str) -> Result<()> {
        if allowed || self.is_empty() {
            return Ok(());
        }
        Err(Error::path(path, format!("the tensors do not fit the model: {}", self.summary()), how_to_allow))
    }
}

impl fmt::Display for MisShaped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} must be {:?}, is {:?}", self.name, self.want, self.got)
    }
}

impl fmt::Display for KeyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.missing.iter().try_for_each(|name| writeln!(f, "missing     {name}"))?;
        self.unexpected.iter().try_for_each(|name| writeln!(f, "unexpected  {name}"))?;
        self.mis_shaped.iter().try_for_each(|tensor| writeln!(f, "mis-shaped  {tensor}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> KeyReport {
        let want = ["norm_f.weight", "head.bias", "pos_embed", "d"].map(|n| (n.to_string(), vec![2]));
        let have: [(&str, &[usize]); 4] =
            [("d", &[2]), ("pos_embed", &[3]), ("z", &[1]), ("head.weight", &[1])];
        KeyReport::new(&want, have)
    }

    #[test]
    fn differences_are_sorted_into_kinds() {
        let report = report();
        assert_eq!(report.missing, ["norm_f.weight", "head.bias"]);
        assert_eq!(report.unexpected, ["head.weight", "z"]);
        assert_eq!(
            report.summary(),
            "2 missing (norm_f.weight, head.bias), 2 unexpected (head.weight, z), \
             1 mis-shaped (pos_embed must be [2], is [3])"
        );
        assert_eq!(report.to_string().lines().count(), 5);
    }

    #[test]
    fn differences_are_refused_unless_allowed_or_ignored() {
        let (report, path) = (report(), Path::new("a.pth"));
        let line = report.require(path, false, "pass --flag").unwrap_err().to_string();
        assert!(line.starts_with("a.pth: ") && line.ends_with("; pass --flag"), "{line}");
        assert!(report.require(path, true, "").is_ok());
        let rest = report.without(|name| name.starts_with("head."));
        assert_eq!((rest.missing.len(), rest.unexpected.len()), (1, 1));
        let none = rest.without(|_| true);
        assert!(none.require(path, false, "").is_ok() && none.summary() == "all tensors fit");
    }
}
