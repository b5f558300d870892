//! The parameters of a Vim: their published names and shapes, and their places in a model.

use autograd::Var;
use engine::Tensor;
use ptx::causal_conv1d::Filter;
use ptx::selective_scan;

use super::config::VimConfig;
use crate::Result;
use crate::params::{BACKBONE, Bound, ParamId, Params};

/// Parameters of one direction of a mixer.
pub(super) struct Direction {
    conv_weight: ParamId,
    conv_bias: ParamId,
    pub x_proj: ParamId,
    pub dt_weight: ParamId,
    dt_bias: ParamId,
    a_log: ParamId,
    d: ParamId,
}

impl Direction {
    /// The direction's causal convolution.
    pub fn filter<'a>(&self, params: &'a Bound) -> Filter<'a> {
        Filter { weight: &params[self.conv_weight], bias: &params[self.conv_bias] }
    }

    /// The direction's scan of `u [b l e]`, with the outputs of `x_proj` and `dt_proj`.
    pub fn scanned<'a>(
        &self,
        params: &'a Bound,
        u: &'a Var,
        [x_dbl, delta]: &'a [Var; 2],
    ) -> selective_scan::Direction<'a> {
        let (a_log, d, delta_bias) = (&params[self.a_log], &params[self.d], &params[self.dt_bias]);
        selective_scan::Direction { u, delta, x_dbl, a_log, d, delta_bias }
    }
}

/// Parameters of one block.
pub(super) struct Block {
    pub norm: ParamId,
    pub in_proj: ParamId,
    pub out_proj: ParamId,
    /// The two directions, forward first.
    pub directions: [Direction; 2],
}

/// All parameters of a Vim.
pub(super) struct VimParams {
    pub cls: ParamId,
    pub pos: ParamId,
    pub patch_weight: ParamId,
    pub patch_bias: ParamId,
    pub norm_f: ParamId,
    pub blocks: Vec<Block>,
}

/// Names of the parameters of one direction of a mixer, in the order of [`Direction`]'s fields.
fn direction_names(layer: usize, backward: bool) -> [String; 7] {
    let names = match backward {
        false => {
            ["conv1d.weight", "conv1d.bias", "x_proj.weight", "dt_proj.weight", "dt_proj.bias", "A_log", "D"]
        }
        true => [
            "conv1d_b.weight",
            "conv1d_b.bias",
            "x_proj_b.weight",
            "dt_proj_b.weight",
            "dt_proj_b.bias",
            "A_b_log",
            "D_b",
        ],
    };
    names.map(|name| format!("layers.{layer}.mixer.{name}"))
}

/// Whether a parameter is the weight of a matrix product.
pub(super) fn is_product_weight(name: &str) -> bool {
    let layer = name.strip_suffix(".weight").and_then(|name| name.rsplit('.').next());
    layer.is_some_and(|layer| layer.ends_with("proj") || layer.ends_with("proj_b"))
}

/// Names and shapes of the parameters, as in the published checkpoints, head excluded.
pub(super) fn shapes(config: &VimConfig) -> Vec<(String, Vec<usize>)> {
    let VimConfig { embed_dim: d, d_state: n, d_conv: k, dt_rank: r, patch_size: p, .. } = *config;
    let e = config.d_inner();
    let mut shapes = vec![
        ("cls_token".into(), vec![1, 1, d]),
        ("pos_embed".into(), vec![1, config.tokens(), d]),
        ("patch_embed.proj.weight".into(), vec![d, 3, p, p]),
        ("patch_embed.proj.bias".into(), vec![d]),
    ];
    for i in 0..config.depth {
        shapes.push((format!("layers.{i}.norm.weight"), vec![d]));
        shapes.push((format!("layers.{i}.mixer.in_proj.weight"), vec![2 * e, d]));
        for backward in [false, true] {
            let direction =
                [vec![e, 1, k], vec![e], vec![r + 2 * n, e], vec![e, r], vec![e], vec![e, n], vec![e]];
            shapes.extend(direction_names(i, backward).into_iter().zip(direction));
        }
        shapes.push((format!("layers.{i}.mixer.out_proj.weight"), vec![d, e]));
    }
    shapes.push(("norm_f.weight".into(), vec![d]));
    shapes
}

impl VimParams {
    /// Adds the parameters to `params`, frozen, values by `value(name, shape)`.
    ///
    /// Sizes that no model can have, and errors of `value`.
    pub fn build(
        config: &VimConfig,
        params: &mut Params,
        mut value: impl FnMut(&str, &[usize]) -> Result<Tensor>,
    ) -> Result<Self> {
        config.check()?;
        for (name, shape) in shapes(config) {
            let value = value(&name, &shape)?;
            params.add(BACKBONE, name, value, false);
        }
        let id = |name: &str| params.id(name).expect("added above");
        let direction = |layer, backward| {
            let [conv_weight, conv_bias, x_proj, dt_weight, dt_bias, a_log, d] =
                direction_names(layer, backward).map(|name| id(&name));
            Direction { conv_weight, conv_bias, x_proj, dt_weight, dt_bias, a_log, d }
        };
        let block = |i: usize| Block {
            norm: id(&format!("layers.{i}.norm.weight")),
            in_proj: id(&format!("layers.{i}.mixer.in_proj.weight")),
            out_proj: id(&format!("layers.{i}.mixer.out_proj.weight")),
            directions: [direction(i, false), direction(i, true)],
        };
        Ok(VimParams {
            cls: id("cls_token"),
            pos: id("pos_embed"),
            patch_weight: id("patch_embed.proj.weight"),
            patch_bias: id("patch_embed.proj.bias"),
            norm_f: id("norm_f.weight"),
            blocks: (0..config.depth).map(block).collect(),
        })
    }
}
