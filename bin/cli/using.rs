//! The flags of the commands that use a trained model.

use std::path::{Path, PathBuf};

use clap::Args;
use svp::Result;
use svp::train::{TrainedModel, load_trained};

use crate::compute::Compute;

/// How a trained model is loaded, where it computes, and how the result is printed.
#[derive(Args)]
pub struct Using {
    /// The backbone that the run was trained on, if the file was moved since
    #[arg(long, value_name = "FILE")]
    pub backbone: Option<PathBuf>,
    /// Print the result as JSON, one object a line
    #[arg(long)]
    pub json: bool,
    /// The device and the threads.
    #[command(flatten)]
    pub compute: Compute,
}

impl Using {
    /// Starts the device and loads the trained model of a run folder, or of a `best.safetensors`.
    ///
    /// # Errors
    /// A device that cannot be used; a run or a backbone that is missing, damaged or does not fit the other.
    pub fn load(&self, run: &Path) -> Result<TrainedModel> {
        let device = self.compute.start()?;
        load_trained(run, self.backbone.as_deref(), &device)
    }
}
