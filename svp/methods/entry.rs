//! The registry's entry of a method.

use engine::Device;
use serde::{Deserialize, Serialize};

use super::settings::{Setting, Settings};
use crate::Result;
use crate::backbones::pos_embed::ClassRow;
use crate::params::Params;
use crate::pass::{Method, Spec};
use crate::survey::Surveyor;

/// Everything that is particular to a method, in one place. The command line, files, tables, pages and tests read it.
pub struct Entry {
    /// Name, as `--method` takes it.
    pub name: &'static str,
    /// Name in tables and sentences.
    pub title: &'static str,
    /// Description for help and pages, which replace the word `backbone` by the family's title.
    pub about: &'static str,
    /// What is trained, for the table of methods.
    pub trains: &'static str,
    /// Where it was published, for the table of methods; empty without a publication.
    pub source: &'static str,
    /// Names of the families of backbones that it runs on.
    pub backbones: &'static [&'static str],
    /// Names of the families on whose backbones it is the method that is taken where none is named.
    pub default_on: &'static [&'static str],
    /// Its settings, in the order in which files and help list them.
    pub settings: &'static [Setting],
    /// Rates and optimiser for a backbone, where none are given.
    pub defaults: fn(&Spec, &Settings) -> Defaults,
    /// Name of the head that these settings bring with them, in place of the one that is asked for.
    pub head: fn(&Settings) -> Option<&'static str>,
    /// Whether the head reads the frozen backbone's features, which can then be computed once and kept.
    pub keeps_features: bool,
    /// Whether every tensor of the backbone is trained. Such a backbone may begin with initial values, and the trained
    /// file holds it.
    pub whole_backbone: bool,
    /// Views that `svp-gates` and `svp-attention` draw of each image: a name, and whether the method adapts the backbone in
    /// that view.
    pub views: &'static [(&'static str, bool)],
    /// The look at the training images with which the method begins; `None` where it needs none.
    pub survey: Option<Surveyor>,
    /// Adds the method's parameters with initial values.
    pub build: fn(&Settings, &mut Site) -> Result<Box<dyn Method>>,
}

impl Entry {
    /// What most entries have in common, to start from: no settings, the head that is asked for, a frozen backbone that the
    /// method adapts, and no look at the training images. A test refuses an entry that leaves a name or a text empty.
    pub const fn plain(build: fn(&Settings, &mut Site) -> Result<Box<dyn Method>>) -> Self {
        Entry {
            name: "",
            title: "",
            about: "",
            trains: "",
            source: "",
            backbones: &[],
            default_on: &[],
            settings: &[],
            defaults: |_, _| Defaults::adamw(1e-3, 1e-4),
            head: |_| None,
            keeps_features: false,
            whole_backbone: false,
            views: &[("frozen", false), ("adapted", true)],
            survey: None,
            build,
        }
    }
}

/// The place where a method is built: the backbone it adapts, and the parameters it adds to.
pub struct Site<'a> {
    /// Device that holds the values.
    pub device: &'a Device,
    /// Sizes of the backbone.
    pub spec: &'a Spec,
    /// Parameters of the model so far.
    pub params: &'a mut Params,
    /// Seed of initial values.
    pub seed: u64,
}

/// Settings of a run where neither a flag nor a file gives them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Defaults {
    /// Learning rate at 512 images a step.
    pub lr: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// The optimiser.
    pub optimizer: OptimizerKind,
    /// Which row of a checkpoint's position embedding is taken for the class token's when it is resized.
    pub class_row: ClassRow,
}

impl Defaults {
    /// AdamW at these rates, with the class row where Vim has it.
    pub const fn adamw(lr: f64, weight_decay: f64) -> Self {
        Defaults { lr, weight_decay, optimizer: OptimizerKind::Adamw, class_row: ClassRow::Middle }
    }

    /// Replaces the rate on backbones as narrow as the built-in one, on which `lr` was measured (`docs/manual.md`,
    /// "Defaults").
    pub fn narrow(self, spec: &Spec, lr: f64) -> Self {
        Defaults { lr: if spec.is_narrow() { lr } else { self.lr }, ..self }
    }
}

/// An optimiser (`docs/methods.md`, "Optimisers of the methods").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// AdamW, which decays matrices before the update (`docs/recipe.md`, "Optimiser").
    #[default]
    Adamw,
    /// SGD with momentum, which adds the decay to the gradient of everything but the head's biases.
    Sgd,
    /// Adam without decay.
    Adam,
}
