//! The forward pass of a Vim.
//!
//! Block i keeps a pair (h, r): h the last mixer's output, r the residual stream. `r += drop_path(h + prompts)`,
//! `x = RMSNorm(r)`, `h = Mixer(x)`. After the last block `RMSNorm(r + drop_path(h))`. No MLP anywhere.

use autograd::Var;
use engine::Tensor;
use ptx::causal_conv1d::causal_conv1d;
use ptx::linear::{linear, recomputed_window};
use ptx::patch_embed::{Weights, patch_embed};
use ptx::prompt_add_norm::{Settings, prompt_add_norm};
use ptx::selective_scan::selective_scan;

use super::config::VimConfig;
use super::weights::{self, Direction, VimParams};
use crate::Result;
use crate::backbones::family::Backbone;
use crate::params::Params;
use crate::pass::{Method, Pass, Scanned, Seen, Spec, Tokens};

/// A Vim without its head: its sizes, and where its parameters are.
pub struct Vim {
    config: VimConfig,
    spec: Spec,
    params: VimParams,
}

impl Vim {
    /// Adds the parameters to `params`, frozen, values by `value(name, shape)`.
    ///
    /// # Errors
    /// Sizes that no model can have, and those of `value`.
    pub fn build(
        config: VimConfig,
        params: &mut Params,
        value: impl FnMut(&str, &[usize]) -> Result<Tensor>,
    ) -> Result<Self> {
        let params = VimParams::build(&config, params, value)?;
        Ok(Vim { spec: config.spec(), config, params })
    }

    /// The bidirectional mixer of block `layer`: `x [b l d]` to `[b l d]`.
    fn mixer(
        &self,
        pass: &mut Pass,
        method: &dyn Method,
        layer: usize,
        x: &Var,
        tokens: &Tokens,
    ) -> Result<Var> {
        let (tape, params, block) = (pass.tape, pass.params, &self.params.blocks[layer]);
        let xz = linear(tape, x, &params[block.in_proj], None)?;
        let xz = method.site(pass, block.in_proj, x, xz)?;
        let u = causal_conv1d(tape, &xz, block.directions.each_ref().map(|d| d.filter(params)))?;
        let mut project = |direction: &Direction, u: &Var| -> Result<[Var; 2]> {
            let x_dbl = linear(tape, u, &params[direction.x_proj], None)?;
            let x_dbl = method.site(pass, direction.x_proj, u, x_dbl)?;
            let delta = recomputed_window(tape, &x_dbl, 0, &params[direction.dt_weight])?;
            Ok([x_dbl, delta])
        };
        let [f, b] = &block.directions;
        let (from_f, from_b) = (project(f, &u[0])?, project(b, &u[1])?);
        let directions = [f.scanned(params, &u[0], &from_f), b.scanned(params, &u[1], &from_b)];
        let prompts = method.scan(pass, layer, u.each_ref(), tokens.class_row)?;
        if let Some(watch) = &mut pass.watch {
            let (class_row, prompt_rows) = (tokens.class_row, tokens.prompt_rows.as_slice());
            let scanned = Scanned { layer, directions, prompts: prompts.as_ref(), class_row, prompt_rows };
            watch(Seen::Scan(scanned))?;
        }
        let out = selective_scan(tape, &xz, directions, prompts.as_ref().map(<[Var; 2]>::each_ref))?;
        let h = linear(tape, &out, &params[block.out_proj], None)?;
        method.site(pass, block.out_proj, &out, h)
    }
}

impl Backbone for Vim {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn is_product_weight(&self, tensor: &str) -> bool {
        weights::is_product_weight(tensor)
    }

    fn has_gates(&self) -> bool {
        true
    }

    fn forward(&self, pass: &mut Pass, images: &Var, method: &dyn Method) -> Result<Tokens> {
        let (tape, params, noise) = (pass.tape, pass.params, pass.noise);
        let (depth, class_row) = (self.config.depth, Some(self.config.class_row()));
        tape.scope("patch_embed");
        let weights = Weights {
            weight: &params[self.params.patch_weight],
            bias: &params[self.params.patch_bias],
            cls: &params[self.params.cls],
            pos: &params[self.params.pos],
        };
        let h = patch_embed(tape, images, &weights, self.config.stride, self.config.class_row())?;
        let mut tokens = Tokens::stem(h, class_row);
        tokens = method.stem(pass, tokens)?;
        for (i, block) in self.params.blocks.iter().enumerate() {
            tape.scope(format!("layers.{i}"));
            let (entering, generated) = method.block(pass, i, tokens)?;
            let prompts: Vec<_> = generated.iter().map(|p| p.as_prompt(params)).collect();
            // What enters block i is the output of mixer i - 1, and is dropped at that mixer's rate.
            let keep = if i > 0 { noise.keep(i - 1) } else { None };
            let settings = Settings { skip: entering.class_row, keep };
            let (h, residual) = (&entering.h, entering.residual.as_ref());
            let [r, x] = prompt_add_norm(tape, h, residual, &prompts, &params[block.norm], settings)?;
            let x = method.site(pass, block.norm, &r, x)?;
            let h = self.mixer(pass, method, i, &x, &entering)?;
            tokens = Tokens { h, residual: Some(r), ..entering };
        }
        tape.scope("norm_f");
        let settings = Settings { skip: None, keep: noise.keep(depth - 1) };
        let residual = tokens.residual.as_ref();
        let [r, hidden] =
            prompt_add_norm(tape, &tokens.h, residual, &[], &params[self.params.norm_f], settings)?;
        let hidden = method.site(pass, self.params.norm_f, &r, hidden)?;
        method.ended(pass, Tokens { h: hidden, residual: None, ..tokens })
    }
}
