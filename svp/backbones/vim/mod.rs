//! The Vim backbone (Zhu et al. 2024; `hustvl/Vim`), with the bidirectional "v2" mixer and the class token in the
//! middle (`docs/methods.md`, "Vim").
//!
//! Each block works on a pair (h, r), where h is the output of the last mixer and r the residual stream: `r +=
//! drop_path(h + prompts)`, `x = RMSNorm(r)`, `h = Mixer(x)`. After the last block the tokens are `RMSNorm(r +
//! drop_path(h))`. There is no MLP.

mod config;
mod init;
mod load;
mod weights;

use autograd::Var;
use ptx::causal_conv1d::causal_conv1d;
use ptx::linear::{linear, recomputed_window};
use ptx::patch_embed::{Weights, patch_embed};
use ptx::prompt_add_norm::{Settings, prompt_add_norm};
use ptx::selective_scan::selective_scan;

use crate::Result;
use crate::backbones::family::{Backbone, Family};
use crate::pass::{Method, Pass, Scanned, Spec, Tokens};

pub use config::VimConfig;
use weights::{Direction, VimParams};

/// Name of the family in trained files and in the entries of methods.
pub const NAME: &str = "vim";

/// The family's entry in the registry.
pub static FAMILY: Family = Family {
    name: NAME,
    title: "Vim",
    marks: "cls_token, pos_embed on a square grid, patch_embed or layers.0",
    wanted: "a Vim with a middle class token",
    recognises: |shapes| VimConfig::of_shapes(shapes, None).is_some(),
    load: load::load,
    sizes: config::NAMES,
    from_scratch: init::from_scratch,
};

/// A Vim without its head: its sizes, and the places of its parameters.
pub struct Vim {
    config: VimConfig,
    spec: Spec,
    params: VimParams,
}

impl Vim {
    /// Sizes of this Vim.
    pub fn config(&self) -> &VimConfig {
        &self.config
    }

    /// The bidirectional mixer of block `layer`, from `x [b l d]` to `[b l d]`.
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
        let u = causal_conv1d(tape, &xz, block.directions.each_ref().map(|d| d.filter(params)))?;
        let project = |direction: &Direction, u: &Var| -> Result<[Var; 2]> {
            let x_dbl = linear(tape, u, &params[direction.x_proj], None)?;
            let delta = recomputed_window(tape, &x_dbl, 0, &params[direction.dt_weight])?;
            Ok([x_dbl, delta])
        };
        let [f, b] = &block.directions;
        let (from_f, from_b) = (project(f, &u[0])?, project(b, &u[1])?);
        let directions = [f.scanned(params, &u[0], &from_f), b.scanned(params, &u[1], &from_b)];
        let prompts = method.scan(pass, layer, u.each_ref(), tokens.class_row)?;
        if let Some(watch) = &mut pass.watch {
            let (class_row, prompt_rows) = (tokens.class_row, tokens.prompt_rows.as_slice());
            watch(Scanned { layer, directions, prompts: prompts.as_ref(), class_row, prompt_rows })?;
        }
        let out = selective_scan(tape, &xz, directions, prompts.as_ref().map(<[Var; 2]>::each_ref))?;
        Ok(linear(tape, &out, &params[block.out_proj], None)?)
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
        let h = patch_embed(tape, images, &weights, self.config.stride)?;
        let mut tokens = Tokens { h, residual: None, class_row, prompt_rows: vec![] };
        tokens = method.stem(pass, tokens)?;
        for (i, block) in self.params.blocks.iter().enumerate() {
            tape.scope(format!("layers.{i}"));
            let (entering, generated) = method.block(pass, i, tokens)?;
            let prompts: Vec<_> = generated.iter().map(|p| p.as_prompt(params)).collect();
            // The input of block i is the output of mixer i - 1, so it is dropped at that mixer's rate.
            let keep = if i > 0 { noise.keep(i - 1) } else { None };
            let settings = Settings { skip: entering.class_row, keep };
            let (h, residual) = (&entering.h, entering.residual.as_ref());
            let [r, x] = prompt_add_norm(tape, h, residual, &prompts, &params[block.norm], settings)?;
            let h = self.mixer(pass, method, i, &x, &entering)?;
            tokens = Tokens { h, residual: Some(r), ..entering };
        }
        tape.scope("norm_f");
        let settings = Settings { skip: None, keep: noise.keep(depth - 1) };
        let residual = tokens.residual.as_ref();
        let [_, hidden] =
            prompt_add_norm(tape, &tokens.h, residual, &[], &params[self.params.norm_f], settings)?;
        Ok(Tokens { h: hidden, residual: None, ..tokens })
    }
}
