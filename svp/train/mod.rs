//! Training: optimizer, schedule, the loop, evaluation, state on disk.

mod optim;
mod schedule;

pub use optim::{Optimizer, recipe_decays};
pub use schedule::Schedule;
