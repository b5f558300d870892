//! Selective visual prompts (SVP, AAAI 2025, eq. 3-5), in the paper's form and the published program's.
//!
//! Into every block's input h, for every image token: `h + alpha * SiLU(W_c h + b_c) + beta * SiLU(W_2 (W_1 h +
//! b_1) + b_2)`. The cross generator (c) and its scale alpha are shared by a group of layers; inner generator
//! and beta belong to one layer. Scales start at zero: the first forward is the frozen model's.

use autograd::{Tape, Var};
use engine::{Device, Rng, Tensor};
use ptx::linear::linear;
use ptx::prompt_add_norm::{Prompt, Settings, prompt_add_norm};
use ptx::token_rows::{join, window};
use serde::{Deserialize, Serialize};

use super::{Bound, ParamId, Params, VimConfig};
use crate::{Error, Result};

const INIT: u32 = 0x5E1E_0000;

/// Rows of `prompt_scale` in the published files, whatever the depth.
const PUBLISHED_ROWS: usize = 24;

/// Where the cross prompt of a token comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// From that token (the paper's equations).
    Paper,
    /// As the published program computes it: tokens after the class token get the cross prompt generated from
    /// the tokens before it, position by position, after those were prompted.
    Official,
}

/// Settings of the prompts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SvpConfig {
    pub variant: Variant,
    /// Hidden width of the inner generators.
    pub hidden: usize,
    /// Layers that share a cross generator.
    pub group_size: usize,
    pub inner: bool,
    pub cross: bool,
}

impl Default for SvpConfig {
    fn default() -> Self {
        SvpConfig { variant: Variant::Paper, hidden: 64, group_size: 8, inner: true, cross: true }
    }
}

#[derive(Clone, Copy)]
struct Affine {
    weight: ParamId,
    bias: ParamId,
}

impl Affine {
    fn apply(&self, tape: &Tape, params: &Bound, x: &Var) -> Result<Var> {
        Ok(linear(tape, x, &params[self.weight], Some(&params[self.bias]))?)
    }

    /// The product without its bias, which is added where the prompt is.
    fn product(&self, tape: &Tape, params: &Bound, x: &Var) -> Result<Var> {
        Ok(linear(tape, x, &params[self.weight], None)?)
    }
}

/// The generators and scales: where their parameters are.
pub struct Prompts {
    config: SvpConfig,
    inner: Vec<[Affine; 2]>,
    cross: Vec<Affine>,
    inner_scale: Option<ParamId>,
    cross_scale: Option<ParamId>,
}

/// A prompt ready to be added: generated values before bias and SiLU, and the row of its scale.
pub struct Generated {
    value: Var,
    bias: ParamId,
    scale: ParamId,
    row: usize,
}

impl Generated {
    pub fn as_prompt<'a>(&'a self, params: &'a Bound) -> Prompt<'a> {
        Prompt { generated: &self.value, bias: &params[self.bias], scale: &params[self.scale], row: self.row }
    }
}

/// The learned scales of a layer, a value a channel.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerScales {
    /// Of its inner prompts.
    pub beta: Option<Vec<f32>>,
    /// Of the cross prompts, shared by its group.
    pub alpha: Option<Vec<f32>>,
}

impl Prompts {
    /// Adds the trained prompt parameters. Generators start as PyTorch's Linear does, scales at zero.
    pub fn init(
        device: &Device,
        config: SvpConfig,
        vim: &VimConfig,
        params: &mut Params,
        seed: u64,
    ) -> Result<Self> {
        let groups = config.check(vim)?;
        let (d, mut stream) = (vim.embed_dim, INIT);
        let mut affine = |params: &mut Params, name: String, n: usize, k: usize| {
            let mut tensor = |shape: &[usize]| {
                stream += 1;
                let mut rng = Rng::keyed(seed, 0, 0, stream);
                let bound = 1.0 / (k as f64).sqrt();
                let values = (0..shape.iter().product()).map(|_| rng.range(-bound, bound) as f32).collect();
                Tensor::from_vec(values, shape)
            };
            let (weight, bias) = (tensor(&[n, k]), tensor(&[n]));
            Affine {
                weight: params.add(format!("{name}.weight"), weight, true),
                bias: params.add(format!("{name}.bias"), bias, true),
            }
        };
        let mut prompts =
            Prompts { config, inner: vec![], cross: vec![], inner_scale: None, cross_scale: None };
        if config.inner {
            for i in 0..vim.depth {
                let down = affine(params, format!("prompt_generator.{i}.0"), config.hidden, d);
                let up = affine(params, format!("prompt_generator.{i}.1"), d, config.hidden);
                prompts.inner.push([down, up]);
            }
            let rows = vim.depth.max(PUBLISHED_ROWS);
            prompts.inner_scale = Some(params.add("prompt_scale", Tensor::zeros(device, &[rows, d]), true));
        }
        if config.cross {
            for g in 0..groups {
                prompts.cross.push(affine(params, format!("prompt_generator_shared.{g}.0"), d, d));
            }
            let scale = Tensor::zeros(device, &[groups, d]);
            prompts.cross_scale = Some(params.add("prompt_shared_scale", scale, true));
        }
        Ok(prompts)
    }

    /// The scales of the first `depth` layers.
    pub fn scales(&self, params: &Params, depth: usize) -> Result<Vec<LayerScales>> {
        let row = |scale: Option<ParamId>, row: usize| -> Result<Option<Vec<f32>>> {
            let Some(scale) = scale.map(|id| params.get(id)) else { return Ok(None) };
            let d = scale.shape()[1];
            Ok(Some(scale.values()?[row * d..(row + 1) * d].to_vec()))
        };
        let layer = |i: usize| {
            let (beta, alpha) =
                (row(self.inner_scale, i)?, row(self.cross_scale, i / self.config.group_size)?);
            Ok(LayerScales { beta, alpha })
        };
        (0..depth).map(layer).collect()
    }

    /// The prompts of block `layer`, from its input `h [b l d]`.
    pub fn generate(
        &self,
        tape: &Tape,
        params: &Bound,
        layer: usize,
        h: &Var,
        class_row: usize,
    ) -> Result<Vec<Generated>> {
        let mut prompts = vec![];
        if let Some(scale) = self.inner_scale {
            let [down, up] = self.inner[layer];
            let value = up.product(tape, params, &down.apply(tape, params, h)?)?;
            prompts.push(Generated { value, bias: up.bias, scale, row: layer });
        }
        if let Some(scale) = self.cross_scale {
            let row = layer / self.config.group_size;
            let generator = self.cross[row];
            let value = match self.config.variant {
                Variant::Paper => generator.product(tape, params, h)?,
                Variant::Official => {
                    let inner = prompts.first();
                    self.cross_from_first_half(tape, params, generator, h, inner, (scale, row), class_row)?
                }
            };
            prompts.push(Generated { value, bias: generator.bias, scale, row });
        }
        Ok(prompts)
    }

    /// The published program's cross prompts: generated from the first half, then again from the first half
    /// with its prompts added, for the second half (recipe, section 4).
    fn cross_from_first_half(
        &self,
        tape: &Tape,
        params: &Bound,
        generator: Affine,
        h: &Var,
        inner: Option<&Generated>,
        (scale, row): (ParamId, usize),
        class_row: usize,
    ) -> Result<Var> {
        let first_half = window(tape, h, 0, class_row)?;
        let value = generator.product(tape, params, &first_half)?;
        let cross = Generated { value, bias: generator.bias, scale, row };
        let inner = match inner {
            Some(inner) => {
                let value = window(tape, &inner.value, 0, class_row)?;
                Some(Generated { value, ..*inner })
            }
            None => None,
        };
        let added: Vec<Prompt> = inner.iter().chain([&cross]).map(|p| p.as_prompt(params)).collect();
        // Of this call only the sum is used; any vector serves as the norm's weight.
        let weight = &params[generator.bias];
        let weight = Var::constant(weight.value().clone());
        let [prompted, _] = prompt_add_norm(tape, &first_half, None, &added, &weight, Settings::default())?;
        let second = generator.product(tape, params, &prompted)?;
        Ok(join(tape, &cross.value, &second, 1)?)
    }
}

impl SvpConfig {
    /// Refuses impossible settings; returns the number of groups.
    fn check(&self, vim: &VimConfig) -> Result<usize> {
        let patches = vim.tokens() - 1;
        let (what, hint) = if !self.inner && !self.cross {
            ("neither inner nor cross prompts are on".to_string(), "turn one on, or use --method linear")
        } else if self.hidden == 0 || self.group_size == 0 {
            ("hidden and group-size must be at least 1".to_string(), "use 64 and 8")
        } else if self.variant == Variant::Official && patches % 2 == 1 {
            (
                format!("the official variant needs an even number of patches, not {patches}"),
                "use --variant paper",
            )
        } else {
            return Ok(vim.depth.div_ceil(self.group_size));
        };
        Err(Error::input("svp", what, hint))
    }
}
