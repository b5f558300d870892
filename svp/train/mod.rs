//! Training: config, optimizer, schedule, the loop, evaluation, state on disk.

mod average;
mod config;
mod dry_run;
mod evaluate;
mod feed;
mod fit;
mod optim;
mod outcome;
mod preset;
mod run;
mod run_page;
mod schedule;
mod setup;
mod state;
mod stepper;
mod trained_model;

pub use average::Average;
pub use config::{BUILTIN, Method, Precision, TrainConfig};
pub use dry_run::{DryRun, dry_run};
pub use evaluate::{Evaluation, evaluate, ranking, softmax};
pub use feed::{Feed, FeedBatch};
pub use fit::{explain_memory, fitting_batch_size};
pub use optim::{Optimizer, recipe_decays};
pub use outcome::{Outcome, ParameterCount, count_parameters};
pub use preset::{Override, Preset};
pub use run::{Moved, Prepared, Session, Surroundings, prepare, read_config};
pub use run_page::{Measured, run_page};
pub use schedule::Schedule;
pub use setup::{BUILTIN_BACKBONE, backbone, dataset};
pub use state::{Position, Trained, TrainedFile};
pub use stepper::{Health, StepSettings, Stepper, Submitted};
pub use trained_model::{TrainedModel, load_trained};
