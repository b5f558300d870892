//! What SVP's prompts have learned: how strongly each layer is prompted, and which channels.

use super::section::{Figure, Section};
use crate::model::LayerScales;

/// The section about the scales of the prompts. A run without prompts has no layers with scales, and the section says
/// so.
pub fn scales_section(layers: &[LayerScales]) -> Section {
    let kind = |name: &str, of: fn(&LayerScales) -> Option<&Vec<f32>>| {
        let layers: Vec<Vec<f32>> = layers.iter().filter_map(of).cloned().collect();
        (!layers.is_empty()).then(|| (name.to_string(), layers))
    };
    let kinds = [
        kind("beta (inner prompts, of each layer)", |layer| layer.beta.as_ref()),
        kind("alpha (cross prompts, shared by a group)", |layer| layer.alpha.as_ref()),
    ];
    let (names, kinds): (Vec<String>, Vec<_>) = kinds.into_iter().flatten().unzip();
    let heading = "Prompts".to_string();
    if kinds.is_empty() {
        let text = "This run has no prompts, so there are no scales to show.".into();
        return Section { heading, text, figures: vec![] };
    }
    let sizes = |layer: usize| kinds.iter().map(|kind| mean_size(&kind[layer])).collect();
    let sizes = (0..layers.len()).map(sizes).collect();
    let bars = Figure::Bars { title: "Mean size of the scales".into(), names: names.clone(), layers: sizes };
    let strips = names.into_iter().zip(kinds).map(|(title, layers)| Figure::Strip { title, layers });
    Section {
        heading,
        text: "Each layer's input gets beta times its own inner prompt and alpha times the cross prompt of its group; \
               both began at zero."
            .into(),
        figures: [bars].into_iter().chain(strips).collect(),
    }
}

fn mean_size(values: &[f32]) -> f64 {
    values.iter().map(|v| f64::from(v.abs())).sum::<f64>() / values.len().max(1) as f64
}
