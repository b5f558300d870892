//! Which of the sets of weights in a file is taken.

use serde::{Deserialize, Serialize};

/// A set of weights in a file that holds a model and a moving average of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weights {
    /// The model as the steps left it.
    Model,
    /// The moving average of the model over its steps.
    Ema,
}

/// Keys of the two networks that self-distillation trains, such as DINO: the teacher follows the student as an average,
/// and is what is released.
pub(super) const TEACHER: &str = "teacher";
pub(super) const STUDENT: &str = "student";

impl Weights {
    /// Keys under which a file may keep these weights, tried in this order.
    pub(super) fn keys(self) -> &'static [&'static str] {
        match self {
            Weights::Model => &["model", "state_dict", "model_state_dict", TEACHER],
            Weights::Ema => &["model_ema", "state_dict_ema", "ema", "ema_state_dict", "model_ema_state_dict"],
        }
    }
}
