//! The Vim backbone (Zhu et al. 2024; `hustvl/Vim`, bidirectional "v2" mixer, class token in the middle).
//!
//! Block i keeps a pair (h, r): h the last mixer's output, r the residual stream. `r += drop_path(h + prompts)`,
//! `x = RMSNorm(r)`, `h = Mixer(x)`. After the last block `RMSNorm(r + drop_path(h))`. No MLP anywhere.

use autograd::{Tape, Var};
use engine::{Rng, Tensor};
use ptx::causal_conv1d::{Filter, causal_conv1d};
use ptx::linear::{linear, recomputed_window};
use ptx::patch_embed::{Weights, patch_embed};
use ptx::prompt_add_norm::{Keep, Settings, keep_scales, prompt_add_norm};
use ptx::selective_scan::{Direction, selective_scan};

use super::{Bound, ParamId, Params, Prompts, VimConfig};
use crate::Result;

/// Streams of random numbers for initial values, one per parameter.
const INIT: u32 = 0x1217_0000;

/// Parameters of one direction of a mixer.
struct Walk {
    conv_weight: ParamId,
    conv_bias: ParamId,
    x_proj: ParamId,
    dt_weight: ParamId,
    dt_bias: ParamId,
    a_log: ParamId,
    d: ParamId,
}

struct Block {
    norm: ParamId,
    in_proj: ParamId,
    out_proj: ParamId,
    walks: [Walk; 2],
}

/// A Vim without its head: where its parameters are.
pub struct Vim {
    pub config: VimConfig,
    cls: ParamId,
    pos: ParamId,
    patch_weight: ParamId,
    patch_bias: ParamId,
    norm_f: ParamId,
    blocks: Vec<Block>,
}

/// Is shown what the scan of each block gets, block by block: both directions, forward first.
pub type Observer<'a> = dyn FnMut([Direction; 2]) -> Result<()> + 'a;

/// Stochastic depth of one step: the factors of every add, `[depth b]`. Row `i` is for the output of mixer `i`.
#[derive(Clone, Copy)]
pub struct DropPath<'a>(pub &'a Tensor);

impl<'a> DropPath<'a> {
    /// The factors for images that stand at `samples` in their split. `rate` is that of the last add; earlier ones
    /// grow to it linearly, `rate i / (depth - 1)`.
    pub fn scales(rate: f64, depth: usize, seed: u64, epoch: u32, samples: &[u32]) -> Result<Vec<f32>> {
        let row = |i: usize| {
            let p = rate * i as f64 / (depth.max(2) - 1) as f64;
            keep_scales(seed, epoch, samples, i as u32, p)
        };
        let rows: engine::Result<Vec<_>> = (0..depth).map(row).collect();
        Ok(rows?.concat())
    }

    fn row(self, row: usize) -> Keep<'a> {
        Keep { scales: self.0, row }
    }
}

/// Names of a mixer's parameters of one direction, in the order of [`Walk`]'s fields.
fn walk_names(layer: usize, backward: bool) -> [String; 7] {
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

impl Vim {
    /// Names and shapes of the parameters, as in the published checkpoints, head excluded.
    pub fn shapes(config: &VimConfig) -> Vec<(String, Vec<usize>)> {
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
                let walk =
                    [vec![e, 1, k], vec![e], vec![r + 2 * n, e], vec![e, r], vec![e], vec![e, n], vec![e]];
                shapes.extend(walk_names(i, backward).into_iter().zip(walk));
            }
            shapes.push((format!("layers.{i}.mixer.out_proj.weight"), vec![d, e]));
        }
        shapes.push(("norm_f.weight".into(), vec![d]));
        shapes
    }

    /// Whether a parameter is the weight of a matrix product.
    pub fn is_product_weight(name: &str) -> bool {
        let layer = name.strip_suffix(".weight").and_then(|name| name.rsplit('.').next());
        layer.is_some_and(|layer| layer.ends_with("proj") || layer.ends_with("proj_b"))
    }

    /// Adds the parameters to `params`, frozen, values by `value(name, shape)`.
    pub fn build(
        config: VimConfig,
        params: &mut Params,
        mut value: impl FnMut(&str, &[usize]) -> Result<Tensor>,
    ) -> Result<Self> {
        config.check()?;
        for (name, shape) in Vim::shapes(&config) {
            let value = value(&name, &shape)?;
            params.add(name, value, false);
        }
        let id = |name: &str| params.id(name).expect("added above");
        let walk = |layer, backward| {
            let [conv_weight, conv_bias, x_proj, dt_weight, dt_bias, a_log, d] =
                walk_names(layer, backward).map(|name| id(&name));
            Walk { conv_weight, conv_bias, x_proj, dt_weight, dt_bias, a_log, d }
        };
        let block = |i: usize| Block {
            norm: id(&format!("layers.{i}.norm.weight")),
            in_proj: id(&format!("layers.{i}.mixer.in_proj.weight")),
            out_proj: id(&format!("layers.{i}.mixer.out_proj.weight")),
            walks: [walk(i, false), walk(i, true)],
        };
        Ok(Vim {
            config,
            cls: id("cls_token"),
            pos: id("pos_embed"),
            patch_weight: id("patch_embed.proj.weight"),
            patch_bias: id("patch_embed.proj.bias"),
            norm_f: id("norm_f.weight"),
            blocks: (0..config.depth).map(block).collect(),
        })
    }

    /// Adds the parameters with initial values for training from scratch, as the published program draws them
    /// (recipe, section 3), except that `dt_proj_b.bias` is kept like `dt_proj.bias` rather than zeroed.
    pub fn init(config: VimConfig, params: &mut Params, seed: u64) -> Result<Self> {
        let mut stream = INIT;
        Vim::build(config, params, |name, shape| {
            stream += 1;
            let mut rng = Rng::keyed(seed, 0, 0, stream);
            Ok(initial_value(&config, name, shape, &mut rng))
        })
    }

    /// Hidden tokens `[b l d]` after the final norm, of normalised images `[b 3 s s]`.
    pub fn forward(
        &self,
        tape: &Tape,
        params: &Bound,
        images: &Var,
        prompts: Option<&Prompts>,
        drop_path: Option<DropPath>,
        mut observer: Option<&mut Observer>,
    ) -> Result<Var> {
        let VimConfig { depth, stride, .. } = self.config;
        tape.scope("patch_embed");
        let weights = Weights {
            weight: &params[self.patch_weight],
            bias: &params[self.patch_bias],
            cls: &params[self.cls],
            pos: &params[self.pos],
        };
        let mut h = patch_embed(tape, images, &weights, stride)?;
        let mut residual: Option<Var> = None;
        let keep = |i: usize| drop_path.map(|drop_path| drop_path.row(i));
        for (i, block) in self.blocks.iter().enumerate() {
            tape.scope(format!("layers.{i}"));
            let generated = match prompts {
                Some(prompts) => prompts.generate(tape, params, i, &h, self.config.class_row())?,
                None => vec![],
            };
            let refs: Vec<_> = generated.iter().map(|p| p.as_prompt(params)).collect();
            // What enters block i is the output of mixer i - 1, and is dropped at that mixer's rate.
            let keep = if i > 0 { keep(i - 1) } else { None };
            let settings = Settings { skip: Some(self.config.class_row()), keep };
            let [r, x] = prompt_add_norm(tape, &h, residual.as_ref(), &refs, &params[block.norm], settings)?;
            h = mixer(tape, params, block, &x, observer.as_deref_mut())?;
            residual = Some(r);
        }
        tape.scope("norm_f");
        let settings = Settings { skip: None, keep: keep(depth - 1) };
        let [_, hidden] = prompt_add_norm(tape, &h, residual.as_ref(), &[], &params[self.norm_f], settings)?;
        Ok(hidden)
    }
}

/// The bidirectional mixer: `x [b l d]` to `[b l d]`.
fn mixer(
    tape: &Tape,
    params: &Bound,
    block: &Block,
    x: &Var,
    observer: Option<&mut Observer>,
) -> Result<Var> {
    let xz = linear(tape, x, &params[block.in_proj], None)?;
    let filters =
        block.walks.each_ref().map(|w| Filter { weight: &params[w.conv_weight], bias: &params[w.conv_bias] });
    let [u_f, u_b] = causal_conv1d(tape, &xz, filters)?;
    let project = |walk: &Walk, u: &Var| -> Result<(Var, Var)> {
        let x_dbl = linear(tape, u, &params[walk.x_proj], None)?;
        let delta = recomputed_window(tape, &x_dbl, 0, &params[walk.dt_weight])?;
        Ok((x_dbl, delta))
    };
    let (x_dbl_f, delta_f) = project(&block.walks[0], &u_f)?;
    let (x_dbl_b, delta_b) = project(&block.walks[1], &u_b)?;
    let direction = |walk: &Walk, [u, delta, x_dbl]: [&'_ Var; 3]| -> [Var; 6] {
        [
            u.clone(),
            delta.clone(),
            x_dbl.clone(),
            params[walk.a_log].clone(),
            params[walk.d].clone(),
            params[walk.dt_bias].clone(),
        ]
    };
    let f = direction(&block.walks[0], [&u_f, &delta_f, &x_dbl_f]);
    let b = direction(&block.walks[1], [&u_b, &delta_b, &x_dbl_b]);
    let directions = [&f, &b].map(|v| Direction {
        u: &v[0],
        delta: &v[1],
        x_dbl: &v[2],
        a_log: &v[3],
        d: &v[4],
        delta_bias: &v[5],
    });
    if let Some(observer) = observer {
        observer(directions)?;
    }
    let out = selective_scan(tape, &xz, directions, None)?;
    Ok(linear(tape, &out, &params[block.out_proj], None)?)
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
        // LeCun normal.
        "patch_embed.proj.weight" => fill(rng, &mut |_, rng| rng.normal() / fan_in.sqrt()),
        "patch_embed.proj.bias" => vec![0.0; n],
        // softplus(bias) log-uniform in [0.001, 0.1], as Mamba draws it.
        "dt_proj.bias" | "dt_proj_b.bias" => fill(rng, &mut |_, rng| {
            let dt = rng.range(0.001f64.ln(), 0.1f64.ln()).exp();
            dt + (-(-dt).exp_m1()).ln()
        }),
        "dt_proj.weight" | "dt_proj_b.weight" => uniform((config.dt_rank as f64).powf(-0.5)),
        "out_proj.weight" => uniform(1.0 / (fan_in * config.depth as f64).sqrt()),
        "conv1d.bias" | "conv1d_b.bias" => uniform(1.0 / (config.d_conv as f64).sqrt()),
        // PyTorch's default for linear and convolution: uniform in 1 / sqrt(fan in).
        _ => uniform(1.0 / fan_in.sqrt()),
    };
    Tensor::from_vec(values, shape)
}
