//! The parameters of a ViT: timm's names and shapes, and their places in a model.

use engine::Tensor;
use ptx::layer_norm;

use super::config::VitConfig;
use crate::Result;
use crate::backbones::family::Pool;
use crate::params::{BACKBONE, Bound, ParamId, Params};

/// Weight and bias of a norm or a product.
#[derive(Clone, Copy)]
pub(super) struct Affine {
    pub weight: ParamId,
    pub bias: ParamId,
}

impl Affine {
    /// As the parameters of a norm.
    pub fn norm<'a>(&self, params: &'a Bound, eps: f32) -> layer_norm::Norm<'a> {
        layer_norm::Norm { weight: &params[self.weight], bias: &params[self.bias], eps }
    }
}

/// Parameters of one block.
pub(super) struct Block {
    pub norm1: Affine,
    pub qkv: Affine,
    pub proj: Affine,
    pub norm2: Affine,
    pub fc1: Affine,
    pub fc2: Affine,
    /// Factors of the channels of both branches, where there are such.
    pub layer_scale: Option<[ParamId; 2]>,
}

/// Places of all parameters.
pub(super) struct VitParams {
    pub cls: ParamId,
    pub pos: ParamId,
    pub patch: Affine,
    pub blocks: Vec<Block>,
    pub norm: Affine,
}

/// Names of the factors of both branches of a block.
const LAYER_SCALE: [&str; 2] = ["ls1.gamma", "ls2.gamma"];

/// Name of the norm after the last block.
pub(super) fn last_norm(pool: Pool) -> &'static str {
    match pool {
        Pool::Class | Pool::Mean => "norm",
        Pool::Mae => "fc_norm",
    }
}

/// Whether a parameter is the weight of a matrix product.
pub(super) fn is_product_weight(name: &str) -> bool {
    let layer = name.strip_suffix(".weight").and_then(|name| name.rsplit('.').next());
    layer.is_some_and(|layer| ["qkv", "proj", "fc1", "fc2"].contains(&layer))
}

/// Names and shapes of the parameters, as in timm's checkpoints, head excluded.
pub(super) fn shapes(config: &VitConfig) -> Vec<(String, Vec<usize>)> {
    let VitConfig { embed_dim: d, patch_size: p, mlp_dim: m, .. } = *config;
    let mut shapes = vec![
        ("cls_token".into(), vec![1, 1, d]),
        ("pos_embed".into(), vec![1, config.tokens(), d]),
        ("patch_embed.proj.weight".into(), vec![d, 3, p, p]),
        ("patch_embed.proj.bias".into(), vec![d]),
    ];
    for i in 0..config.depth {
        let scale =
            |at: usize| config.layer_scale.then(|| (format!("blocks.{i}.{}", LAYER_SCALE[at]), vec![d]));
        let mut affine = |name: &str, weight: Vec<usize>| {
            let bias = vec![weight[0]];
            shapes.push((format!("blocks.{i}.{name}.weight"), weight));
            shapes.push((format!("blocks.{i}.{name}.bias"), bias));
        };
        affine("norm1", vec![d]);
        affine("attn.qkv", vec![3 * d, d]);
        affine("attn.proj", vec![d, d]);
        affine("norm2", vec![d]);
        affine("mlp.fc1", vec![m, d]);
        affine("mlp.fc2", vec![d, m]);
        shapes.extend([0, 1].into_iter().filter_map(scale));
    }
    let norm = last_norm(config.pool);
    shapes.extend([(format!("{norm}.weight"), vec![d]), (format!("{norm}.bias"), vec![d])]);
    shapes
}

impl VitParams {
    /// Adds the parameters to `params`, frozen, values by `value(name, shape)`.
    ///
    /// Sizes that no model can have, and errors of `value`.
    pub fn build(
        config: &VitConfig,
        params: &mut Params,
        mut value: impl FnMut(&str, &[usize]) -> Result<Tensor>,
    ) -> Result<Self> {
        config.check()?;
        for (name, shape) in shapes(config) {
            let value = value(&name, &shape)?;
            params.add(BACKBONE, name, value, false);
        }
        let id = |name: &str| params.id(name).expect("added above");
        let affine =
            |name: &str| Affine { weight: id(&format!("{name}.weight")), bias: id(&format!("{name}.bias")) };
        let block = |i: usize| Block {
            norm1: affine(&format!("blocks.{i}.norm1")),
            qkv: affine(&format!("blocks.{i}.attn.qkv")),
            proj: affine(&format!("blocks.{i}.attn.proj")),
            norm2: affine(&format!("blocks.{i}.norm2")),
            fc1: affine(&format!("blocks.{i}.mlp.fc1")),
            fc2: affine(&format!("blocks.{i}.mlp.fc2")),
            layer_scale: config
                .layer_scale
                .then(|| LAYER_SCALE.map(|name| id(&format!("blocks.{i}.{name}")))),
        };
        Ok(VitParams {
            cls: id("cls_token"),
            pos: id("pos_embed"),
            patch: affine("patch_embed.proj"),
            blocks: (0..config.depth).map(block).collect(),
            norm: affine(last_norm(config.pool)),
        })
    }
}
