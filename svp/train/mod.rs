//! Training: config, optimizer, schedule, the loop, evaluation, state on disk.

mod config;
mod evaluate;
mod feed;
mod optim;
mod outcome;
mod run;
mod schedule;
mod setup;
mod state;

pub use config::{BUILTIN, Method, TrainConfig};
pub use evaluate::{Evaluation, evaluate, ranking, softmax};
pub use feed::{Feed, FeedBatch};
pub use optim::{Optimizer, recipe_decays};
pub use outcome::{Outcome, ParameterCount, count_parameters};
pub use run::{Prepared, Session, Surroundings, prepare, read_config};
pub use schedule::Schedule;
pub use setup::{BUILTIN_BACKBONE, backbone, dataset};
pub use state::{Position, Trained, TrainedFile};
