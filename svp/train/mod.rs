//! Training: the config, optimisers, the schedule, the loop, evaluation, and the state on disk.

mod average;
mod config;
mod config_file;
mod dry_run;
mod evaluate;
mod feed;
mod fit;
mod input;
mod log;
mod optim;
mod outcome;
mod prepare;
mod preset;
mod run;
mod schedule;
mod setup;
mod state;
mod stepper;
mod trained;
mod trained_model;
mod untouched;

pub use average::Average;
pub use config::{BUILTIN, MOMENTUM, Precision, TrainConfig};
#[cfg(test)]
pub(crate) use config_file::migrated;
pub use config_file::{Moved, read_config};
pub use dry_run::{DryRun, dry_run};
pub(crate) use evaluate::{Count, each_image};
pub use evaluate::{Evaluation, evaluate, ranking, softmax};
pub use feed::{Feed, FeedBatch};
pub use fit::{explain_memory, fitting_batch_size};
pub use optim::{HeadRates, Optimizer, Rates};
pub use outcome::Outcome;
pub(crate) use prepare::assemble;
pub use prepare::{Prepared, prepare};
pub use preset::{Override, Preset};
pub use run::{Session, Surroundings};
pub use schedule::{Decay, Schedule};
pub use setup::{BUILTIN_BACKBONE, backbone, dataset};
pub use state::{Position, TrainedFile};
pub use stepper::{Health, StepSettings, Stepper, Submitted};
pub use trained::Trained;
pub use trained_model::{TrainedModel, load_trained};
pub use untouched::untouched;
