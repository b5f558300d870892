//! The files that a run reads from, and whether another program changed them meanwhile.

use crate::data::{Dataset, Seen};
use crate::{Error, Result};

/// The data and the backbone's files of a run.
pub(super) struct Inputs {
    data: Dataset,
    /// The data set's fingerprint.
    pub fingerprint: String,
    /// The files that the backbone was read from; none once a change was told.
    backbone: Vec<Seen>,
}

impl Inputs {
    pub fn new(data: &Dataset, backbone: Vec<Seen>) -> Self {
        Inputs { data: data.clone(), fingerprint: data.fingerprint(), backbone }
    }

    /// Checks that the data are those the run began with; `how` says how it goes on.
    ///
    /// # Errors
    /// Files of the data set that were changed, replaced or removed.
    pub fn check_data(&self, how: &str) -> Result<()> {
        self.data.unchanged().map_err(|e| match e {
            Error::Input { at, what, .. } => {
                Error::input(at, what, format!("put back what was there and its time of change; {how}"))
            }
            other => other,
        })
    }

    /// A line, once, about a file of the backbone that is not what it was. The run has the weights in memory, and the
    /// trained file names them by their hash, so only whoever loads the file later meets another one.
    pub fn changed_backbone(&mut self) -> Option<String> {
        let error = self.backbone.iter().find_map(|seen| seen.unchanged().err())?;
        self.backbone.clear();
        let Error::Input { at, what, .. } = error else { return None };
        Some(format!(
            "{at}: {what}; this run goes on with the weights that it has read, but svp-eval and --resume will want \
             them back"
        ))
    }
}
