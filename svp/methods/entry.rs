//! What the registry holds of a method.

use engine::Device;
use serde::{Deserialize, Serialize};

use super::settings::{Setting, Settings};
use crate::Result;
use crate::backbones::pos_embed::ClassRow;
use crate::params::Params;
use crate::pass::{Method, Spec};

/// Everything that is particular to a method, in one place: the command line, files, tables, pages and tests read it.
pub struct Entry {
    /// As `--method` names it.
    pub name: &'static str,
    /// In tables and sentences.
    pub title: &'static str,
    /// What it is, for help and pages; pages put the family's title in place of the word `backbone`.
    pub about: &'static str,
    /// What is trained: for the table of methods.
    pub trains: &'static str,
    /// Where it was published: for the table of methods.
    pub source: &'static str,
    /// Names of the families of backbones that it runs on.
    pub backbones: &'static [&'static str],
    /// Its settings.
    pub settings: &'static [Setting],
    /// Rates and optimizer where none are given, for a family of backbones.
    pub defaults: fn(&str, &Settings) -> Defaults,
    /// Whether the head sees the frozen backbone's features, which can then be computed once and kept.
    pub keeps_features: bool,
    /// Whether every tensor of the backbone is trained: it may begin with initial values, and a trained file holds it.
    pub whole_backbone: bool,
    /// What `svp-gates` draws of each image: a name, and whether the method adapts the backbone in it.
    pub views: &'static [(&'static str, bool)],
    /// Adds the method's parameters, trained, with initial values.
    pub build: fn(&Settings, &mut Site) -> Result<Box<dyn Method>>,
}

/// Where a method is built: the backbone it adapts, and the parameters it adds to.
pub struct Site<'a> {
    /// Where values are kept.
    pub device: &'a Device,
    /// The backbone.
    pub spec: &'a Spec,
    /// The parameters so far.
    pub params: &'a mut Params,
    /// Seed of initial values.
    pub seed: u64,
}

/// What a run uses where nothing else is given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Defaults {
    /// Learning rate at 512 images a step.
    pub lr: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// What makes the steps.
    pub optimizer: OptimizerKind,
    /// Which row of a checkpoint's position embedding is the class token's when it is resized.
    pub class_row: ClassRow,
}

impl Defaults {
    /// AdamW at these rates, everything else as it should be.
    pub const fn adamw(lr: f64, weight_decay: f64) -> Self {
        Defaults { lr, weight_decay, optimizer: OptimizerKind::Adamw, class_row: ClassRow::Middle }
    }
}

/// What makes a step of gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// AdamW: decay before the update, on matrices (`docs/recipe.md`, "Optimizer").
    #[default]
    Adamw,
    /// SGD with momentum: decay is added to the gradient, of everything but the head's biases.
    Sgd,
    /// Adam without decay.
    Adam,
}
