//! Initial values of a Vim that is trained from scratch.

use engine::{Rng, Tensor};

use super::config::VimConfig;
use super::network::Vim;
use super::weights;
use crate::backbones::family::{Loaded, Sizes};
use crate::checkpoint::hash_tensors;
use crate::params::Params;
use crate::{Result, streams};

/// The sizes of a named size, some of which `sizes` replaces.
///
/// # Errors
/// An unknown name, or sizes that no model can have.
pub(super) fn sized(name: &str, sizes: &Sizes) -> Result<VimConfig> {
    sizes.reading.refuse("Vim")?;
    let named = VimConfig::named(name)?;
    let patch_size = sizes.patch_size.unwrap_or(named.patch_size);
    let stride = sizes.stride.or(sizes.patch_size).unwrap_or(named.stride);
    let sized = VimConfig::sized(
        sizes.img_size.unwrap_or(named.img_size),
        patch_size,
        sizes.embed_dim.unwrap_or(named.embed_dim),
        sizes.depth.unwrap_or(named.depth),
    );
    let config = VimConfig { stride, ..sized };
    config.check()?;
    Ok(config)
}

/// Makes a Vim of a named size with initial values; `sizes` replaces some of its sizes.
pub(super) fn from_scratch(name: &str, sizes: &Sizes, seed: u64) -> Result<Loaded> {
    let mut params = Params::default();
    let vim = Vim::init(sized(name, sizes)?, &mut params, seed)?;
    let hash = hash_tensors(params.iter().map(|p| (p.name.as_str(), &p.value)));
    Ok(Loaded {
        backbone: Box::new(vim),
        params,
        head: None,
        files: vec![],
        hash,
        notes: vec!["backbone with initial values".into()],
    })
}

impl Vim {
    /// Adds the parameters with initial values for training from scratch, as the published program draws them
    /// (`docs/recipe.md`, "Initial values"), except that `dt_proj_b.bias` is drawn like `dt_proj.bias` instead of being
    /// set to zero.
    ///
    /// # Errors
    /// Sizes that no model can have, and memory that the budget does not have.
    pub fn init(config: VimConfig, params: &mut Params, seed: u64) -> Result<Self> {
        config.check()?;
        for (name, shape) in weights::shapes(&config) {
            params.room(&name, &shape)?;
        }
        let mut stream = streams::BACKBONE_INIT;
        Vim::build(config, params, |name, shape| {
            stream += 1;
            let mut rng = Rng::keyed(seed, 0, 0, stream);
            Ok(initial_value(&config, name, shape, &mut rng))
        })
    }
}

fn initial_value(config: &VimConfig, name: &str, shape: &[usize], rng: &mut Rng) -> Tensor {
    let n: usize = shape.iter().product();
    let fan_in = shape[1..].iter().product::<usize>().max(1) as f64;
    let last = name.rsplit("mixer.").next().unwrap_or(name);
    let fill = |rng: &mut Rng, f: &mut dyn FnMut(usize, &mut Rng) -> f64| -> Vec<f32> {
        (0..n).map(|i| f(i, rng) as f32).collect()
    };
    let mut uniform = |bound: f64| fill(rng, &mut |_, rng| rng.range(-bound, bound));
    let values = match last {
        "A_log" | "A_b_log" => (0..n).map(|i| ((i % config.d_state + 1) as f32).ln()).collect(),
        "D" | "D_b" => vec![1.0; n],
        name if name.ends_with("norm.weight") || name == "norm_f.weight" => vec![1.0; n],
        "cls_token" | "pos_embed" => fill(rng, &mut |_, rng| 0.02 * rng.normal()),
        // LeCun's normal distribution.
        "patch_embed.proj.weight" => fill(rng, &mut |_, rng| rng.normal() / fan_in.sqrt()),
        "patch_embed.proj.bias" => vec![0.0; n],
        // The softplus of the bias is log-uniform in [0.001, 0.1], as in Mamba.
        "dt_proj.bias" | "dt_proj_b.bias" => fill(rng, &mut |_, rng| {
            let dt = rng.range(0.001f64.ln(), 0.1f64.ln()).exp();
            dt + (-(-dt).exp_m1()).ln()
        }),
        "dt_proj.weight" | "dt_proj_b.weight" => uniform((config.dt_rank as f64).powf(-0.5)),
        "out_proj.weight" => uniform(1.0 / (fan_in * config.depth as f64).sqrt()),
        "conv1d.bias" | "conv1d_b.bias" => uniform(1.0 / (config.d_conv as f64).sqrt()),
        // PyTorch's default for linear layers and convolutions: uniform within 1 / sqrt(fan in).
        _ => uniform(1.0 / fan_in.sqrt()),
    };
    Tensor::from_vec(values, shape)
}
