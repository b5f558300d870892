//! The demonstration that `svp-train` runs without settings: a linear probe against SVP on a drawn task, with the
//! built-in backbone.

use std::path::PathBuf;

use svp::train::{BUILTIN, Rate, TrainConfig};

use svp_cli::options::Options;
use svp_cli::values::BatchSize;

/// The drawn task.
const TASK: &str = "orientation";
const BATCH_SIZE: usize = 32;
const LINEAR_EPOCHS: u32 = 100;
const LINEAR_LR: f64 = 4e-2;
const SVP_EPOCHS: u32 = 20;
const SVP_LR: f64 = 6e-2;

/// Settings that can be given without asking for a run of one's own.
const ALLOWED: [&str; 3] = ["precision", "seed", "workers"];

/// The configs of the demonstration, or `None` if other settings are given.
pub fn runs(options: &Options) -> Option<[TrainConfig; 2]> {
    let run = |method: &str, epochs, lr| {
        let demo = Options {
            data: Some(PathBuf::from(format!("{BUILTIN}{TASK}"))),
            method: Some(method.into()),
            epochs: Some(epochs),
            lr: Some(Rate::At(lr)),
            batch_size: Some(BatchSize::Images(BATCH_SIZE)),
            // A short run of a small model needs no regularisation.
            drop_path: Some(0.0),
            ..Options::default()
        };
        options.clone().over(demo).resolve().expect("settings of the demonstration")
    };
    let plain = options.given().iter().all(|name| ALLOWED.contains(name));
    plain.then(|| [run("linear", LINEAR_EPOCHS, LINEAR_LR), run("svp", SVP_EPOCHS, SVP_LR)])
}
