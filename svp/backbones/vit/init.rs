//! Initial values of a ViT that is trained from scratch.

use engine::{Rng, Tensor};

use super::config::VitConfig;
use super::network::Vit;
use super::weights;
use crate::backbones::family::{Loaded, Sizes};
use crate::checkpoint::hash_tensors;
use crate::params::Params;
use crate::{Error, Result, streams};

/// Factors of LayerScale at first, as in timm.
const LAYER_SCALE: f32 = 1e-5;

/// The sizes of a named size, some of which `sizes` replaces.
///
/// # Errors
/// An unknown name, a width without a usual number of heads where none is given, or sizes that no model can have.
pub(super) fn sized(name: &str, sizes: &Sizes) -> Result<VitConfig> {
    let named = VitConfig::named(name)?;
    let patch_size = sizes.patch_size.unwrap_or(named.patch_size);
    let width = sizes.embed_dim.unwrap_or(named.embed_dim);
    let sized = VitConfig::sized(
        sizes.img_size.unwrap_or(named.img_size),
        patch_size,
        width,
        sizes.depth.unwrap_or(named.depth),
    );
    let reading = sizes.reading;
    let Some(heads) = reading.heads.or(super::config::usual_heads(width)) else {
        let what = format!("{width} channels have no usual number of heads");
        return Err(Error::input("--embed-dim", what, "give --heads"));
    };
    let normalisation = reading.normalise.map_or(sized.normalisation, |normalise| normalise.values());
    let stride = sizes.stride.unwrap_or(patch_size);
    let pool = reading.pool.unwrap_or_default();
    let config = VitConfig { heads, stride, normalisation, pool, ..sized };
    config.check()?;
    Ok(config)
}

/// Makes a ViT of a named size with initial values; `sizes` replaces some of its sizes.
pub(super) fn from_scratch(name: &str, sizes: &Sizes, seed: u64) -> Result<Loaded> {
    let mut params = Params::default();
    let vit = Vit::init(sized(name, sizes)?, &mut params, seed)?;
    let hash = hash_tensors(params.iter().map(|p| (p.name.as_str(), &p.value)));
    Ok(Loaded {
        backbone: Box::new(vit),
        params,
        head: None,
        files: vec![],
        hash,
        notes: vec!["backbone with initial values".into()],
    })
}

impl Vit {
    /// Adds the parameters with initial values for training from scratch, as timm draws them: products and position
    /// embedding normal with a deviation of 0.02, the patch embedding as PyTorch draws convolutions, biases zero.
    ///
    /// # Errors
    /// Sizes that no model can have, and memory that the budget does not have.
    pub fn init(config: VitConfig, params: &mut Params, seed: u64) -> Result<Self> {
        config.check()?;
        for (name, shape) in weights::shapes(&config) {
            params.room(&name, &shape)?;
        }
        let mut stream = streams::BACKBONE_INIT;
        Vit::build(config, params, |name, shape| {
            stream += 1;
            let mut rng = Rng::keyed(seed, 0, 0, stream);
            Ok(initial_value(&config, name, shape, &mut rng))
        })
    }
}

fn initial_value(config: &VitConfig, name: &str, shape: &[usize], rng: &mut Rng) -> Tensor {
    let n: usize = shape.iter().product();
    let mut fill = |f: &mut dyn FnMut(&mut Rng) -> f64| (0..n).map(|_| f(rng) as f32).collect::<Vec<f32>>();
    // PyTorch's default for convolutions: uniform within 1 / sqrt(fan in), weights and biases.
    let bound = 1.0 / ((3 * config.patch_size * config.patch_size) as f64).sqrt();
    let values = match name {
        "cls_token" => fill(&mut |rng| 1e-6 * rng.normal()),
        _ if name.starts_with("patch_embed.") => fill(&mut |rng| rng.range(-bound, bound)),
        _ if name.ends_with(".gamma") => vec![LAYER_SCALE; n],
        _ if shape.len() > 1 => fill(&mut |rng| 0.02 * rng.normal()),
        _ if name.ends_with(".weight") => vec![1.0; n],
        _ => vec![0.0; n],
    };
    Tensor::from_vec(values, shape)
}
