//! What the class token of a ViT attends to, layer by layer (iVPT, Figure 7; `docs/methods.md`, "Class attention").
//!
//! In a block, the class token's row weighs all rows of the sequence by a softmax, in each head. Shown are the weights of
//! the patches, as means over the heads. The paper does not say how it treats the heads, so this is this project's choice.

use engine::Tensor;
use serde::Serialize;

use crate::Result;
use crate::model::Model;
use crate::pass::{Attended, Seen};

/// What the class token attends to in one block, as means over the heads. All shares together are 1.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerAttention {
    /// Share of every patch, row by row.
    pub patches: Vec<f64>,
    /// Share of the class token itself.
    pub class: f64,
    /// Share of the rows of prompts.
    pub prompts: f64,
    /// Share of the keys that the method puts before those of the sequence.
    pub extra: f64,
}

/// The attention of the class token in every block, for one normalised image `[1 3 s s]`, with the method or with the
/// backbone alone. Empty for a backbone without attention.
///
/// # Errors
/// Those of [`Model::forward`].
pub fn class_attention(model: &Model, image: Tensor, adapted: bool) -> Result<Vec<LayerAttention>> {
    let mut layers = vec![];
    model.observe(image, adapted, &mut |seen| {
        if let Seen::Attention(attended) = seen {
            layers.push(of_layer(&attended)?);
        }
        Ok(())
    })?;
    Ok(layers)
}

/// Means over the heads, by what the keys are.
fn of_layer(attended: &Attended) -> Result<LayerAttention> {
    let &Attended { class_attention, extra, class_row, prompt_rows, .. } = attended;
    let &[_, heads, keys] = class_attention.shape() else { unreachable!("[b heads keys]") };
    let values = class_attention.value().values()?;
    let mean =
        |key: usize| (0..heads).map(|head| f64::from(values[head * keys + key])).sum::<f64>() / heads as f64;
    let mut found = LayerAttention { patches: vec![], class: 0.0, prompts: 0.0, extra: 0.0 };
    for key in 0..keys {
        let share = mean(key);
        match key.checked_sub(extra) {
            None => found.extra += share,
            Some(row) if row == class_row => found.class += share,
            Some(row) if prompt_rows.contains(&row) => found.prompts += share,
            Some(_) => found.patches.push(share),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use autograd::Var;
    use engine::{Device, Rng};

    use super::*;
    use crate::backbones::{self, Sizes};
    use crate::methods::Chosen;
    use crate::model::Parts;

    /// Side of an image of 4x4 patches of 8 pixels.
    const SIDE: usize = 32;

    fn model(method: &str, settings: &[(&str, &str)]) -> Model {
        let sizes = Sizes {
            img_size: Some(SIDE),
            patch_size: Some(8),
            embed_dim: Some(16),
            depth: Some(3),
            ..Sizes::default()
        };
        let sizes = Sizes { reading: backbones::Reading { heads: Some(2), ..sizes.reading }, ..sizes };
        let loaded = backbones::from_scratch("vit_tiny", &sizes, 5).unwrap();
        let method = settings.iter().fold(Chosen::named(method).unwrap(), |method, (key, value)| {
            method.with_flag(key, value).unwrap()
        });
        Model::new(&Device::cpu(), loaded.backbone, loaded.params, Parts::new(method, 3), 5).unwrap()
    }

    fn seen(model: &Model, adapted: bool) -> Vec<LayerAttention> {
        let mut rng = Rng::keyed(7, 0, 0, 0);
        let image = (0..3 * SIDE * SIDE).map(|_| rng.normal() as f32).collect();
        class_attention(model, Tensor::from_vec(image, &[1, 3, SIDE, SIDE]), adapted).unwrap()
    }

    #[test]
    fn every_block_has_a_share_for_each_patch() {
        let model = model("vpt", &[("tokens", "3")]);
        for (adapted, prompts) in [(false, false), (true, true)] {
            let layers = seen(&model, adapted);
            assert_eq!(layers.len(), 3);
            for layer in &layers {
                assert_eq!(layer.patches.len(), 16);
                assert_eq!((layer.prompts > 0.0, layer.extra), (prompts, 0.0));
                let sum = layer.patches.iter().sum::<f64>() + layer.class + layer.prompts;
                assert!((sum - 1.0).abs() < 1e-5, "{sum}");
            }
            assert_ne!(layers[0].patches, layers[2].patches);
        }
        assert_eq!(seen(&model, false), seen(&self::model("linear", &[]), true), "the frozen backbone");
    }

    /// Two heads; one extra key, then class, two prompts and two patches.
    #[test]
    fn keys_are_told_apart() {
        let rows = [[0.1, 0.2, 0.05, 0.15, 0.3, 0.2], [0.3, 0.0, 0.25, 0.05, 0.1, 0.3]];
        let class_attention = &Var::constant(Tensor::from_vec(rows.concat(), &[1, 2, 6]));
        let attended = Attended { layer: 0, class_attention, extra: 1, class_row: 0, prompt_rows: &[1, 2] };
        let found = of_layer(&attended).unwrap();
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-6, "{a} {b}");
        close(found.extra, 0.2);
        close(found.class, 0.1);
        close(found.prompts, 0.25);
        assert_eq!(found.patches.len(), 2);
        close(found.patches[0], 0.2);
        close(found.patches[1], 0.25);
    }
}
