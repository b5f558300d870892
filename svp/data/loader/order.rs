//! The order in which training sees the samples of a split.

use std::collections::BTreeMap;

use engine::Rng;
use serde::{Deserialize, Serialize};

use crate::streams;

/// How an epoch of training draws its samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sampler {
    /// Every sample once, in a new order every epoch.
    #[default]
    Shuffled,
    /// As many as there are samples, drawn with replacement so that all classes are equally likely.
    Balanced,
}

/// As many positions as there are `labels`, drawn with replacement for (seed, epoch): each time one of the classes that
/// have a sample, all of them alike, and then one of its samples.
pub fn balanced_order(labels: &[u32], seed: u64, epoch: u32) -> Vec<u32> {
    let mut members: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (position, &label) in labels.iter().enumerate() {
        members.entry(label).or_default().push(position as u32);
    }
    let classes: Vec<Vec<u32>> = members.into_values().collect();
    let mut rng = Rng::keyed(seed, epoch, 0, streams::BALANCED);
    let mut draw = |_: &u32| {
        let class = &classes[rng.below(classes.len() as u32) as usize];
        class[rng.below(class.len() as u32) as usize]
    };
    labels.iter().map(&mut draw).collect()
}
