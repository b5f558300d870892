//! The run that a command is about.

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};

/// A run, given as the first argument or by `--run`; [`one_run`] makes one of them required.
#[derive(Args)]
pub struct Run {
    /// Run folder, or its best.safetensors
    #[arg(value_name = "RUN")]
    run: Option<PathBuf>,
    /// The same as RUN, as every command takes it
    #[arg(id = "named_run", long = "run", value_name = "RUN")]
    named: Option<PathBuf>,
}

impl Run {
    /// The run that was given, which may be missing where another argument stands for it.
    pub fn path(&self) -> Option<&Path> {
        self.run.as_deref().or(self.named.as_deref())
    }
}

/// Requires a run to be given once, or one of the arguments `or` in its place.
pub fn one_run(or: &'static [&'static str]) -> ArgGroup {
    ArgGroup::new("one_run").required(true).args(["run", "named_run"]).args(or)
}
