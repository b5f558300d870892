//! The forward pass of a ViT.
//!
//! A block has two branches, each behind a norm: `r += drop_path(attention(LN1(r)))`, `r += drop_path(MLP(LN2(r)))`. What a
//! branch gives is added by the norm that comes next, so between blocks the sequence is a pair, as in a Vim: h, the last
//! MLP's output, and r, the residual stream it has not been added to yet.

use autograd::Var;
use engine::Tensor;
use ptx::activation::{Activation, activation};
use ptx::attention::{Settings, attention};
use ptx::layer_norm::{add_layer_norm, layer_norm};
use ptx::linear::linear;
use ptx::mean_rows::mean_rows;
use ptx::patch_embed::{Weights, patch_embed};
use ptx::prompt_rows::{Prompts, insert};
use ptx::scale_shift::scale_shift;
use ptx::token_rows::window;

use super::config::VitConfig;
use super::facts;
use super::weights::{self, Affine, Block, VitParams};
use crate::Result;
use crate::backbones::family::{Backbone, Pool};
use crate::checkpoint::Metadata;
use crate::params::{ParamId, Params};
use crate::pass::{Attended, Branch, Method, Pass, Seen, Spec, Tokens};

/// A ViT without its head: its sizes, and where its parameters are.
pub struct Vit {
    config: VitConfig,
    spec: Spec,
    params: VitParams,
}

impl Vit {
    /// Adds the parameters to `params`, frozen, values by `value(name, shape)`.
    ///
    /// # Errors
    /// Sizes that no model can have, and those of `value`.
    pub fn build(
        config: VitConfig,
        params: &mut Params,
        value: impl FnMut(&str, &[usize]) -> Result<Tensor>,
    ) -> Result<Self> {
        let params = VitParams::build(&config, params, value)?;
        Ok(Vit { spec: config.spec(), config, params })
    }

    /// The tokens `[b p+1 d]`: class token and patches, with the position embedding.
    fn stem(&self, pass: &mut Pass, images: &Var, method: &dyn Method) -> Result<Var> {
        let (tape, params) = (pass.tape, pass.params);
        let (cls, pos) = (&params[self.params.cls], &params[self.params.pos]);
        let [weight, bias] = [self.params.patch.weight, self.params.patch.bias].map(|id| &params[id]);
        if !method.adapts_patches() {
            let weights = Weights { weight, bias, cls, pos };
            return Ok(patch_embed(tape, images, &weights, self.config.stride, 0)?);
        }
        let zeros = |of: &Var| Var::constant(Tensor::zeros(tape.device(), of.shape()));
        let weights = Weights { weight, bias, cls: &zeros(cls), pos: &zeros(pos) };
        let rows = patch_embed(tape, images, &weights, self.config.stride, 0)?;
        let &[b, l, d] = rows.shape() else { unreachable!("a sequence has three axes") };
        let patches = method.patches(pass, window(tape, &rows, 1, l - 1)?)?;
        let prompts = Prompts { values: cls, entry: 0, dropout: None };
        let rows = tape.reshape(&insert(tape, &patches, &prompts, &[0])?, &[b, l * d])?;
        // The position embedding is a shift of all channels of all rows.
        let ones = Var::constant(Tensor::from_slice(tape.device(), &vec![1.0; l * d], &[l * d]));
        let rows = scale_shift(tape, &rows, &ones, Some(&tape.reshape(pos, &[l * d])?))?;
        Ok(tape.reshape(&rows, &[b, l, d])?)
    }

    /// Attention among the rows of `x [b l d]` in block `layer`: `[b l d]`, and the probabilities of the class token's row
    /// where they are wanted.
    fn attention(
        &self,
        pass: &mut Pass,
        method: &dyn Method,
        layer: usize,
        x: &Var,
        tokens: &Tokens,
    ) -> Result<(Var, Option<Var>)> {
        let block = &self.params.blocks[layer];
        let qkv = product(pass, method, block.qkv, x)?;
        let wanted = method.attention(pass, layer)?;
        let watched = pass.watch.is_some() && pass.sequence == 0;
        let class_row = tokens.class_row.filter(|_| wanted.class_row || watched);
        let settings = Settings {
            heads: self.config.heads,
            extra: wanted.extra.as_ref(),
            temperature: wanted.temperature.as_ref().map(|(temperatures, entry)| (temperatures, *entry)),
            class_row,
        };
        let attended = attention(pass.tape, &qkv, settings)?;
        if let (Some(watch), Some(class_attention), Some(class_row)) =
            (pass.watch.as_mut().filter(|_| watched), &attended.probabilities, class_row)
        {
            let extra = wanted.extra.as_ref().map_or(0, |extra| extra.shape()[1]);
            let prompt_rows = &tokens.prompt_rows;
            watch(Seen::Attention(Attended { layer, class_attention, extra, class_row, prompt_rows }))?;
        }
        let h = product(pass, method, block.proj, &attended.out)?;
        let h = scaled(pass, block.layer_scale.map(|scales| scales[0]), h)?;
        Ok((h, attended.probabilities.filter(|_| wanted.class_row)))
    }

    /// The MLP on each row of `x [b l d]`: `[b l d]`.
    fn mlp(&self, pass: &mut Pass, method: &dyn Method, block: &Block, x: &Var) -> Result<Var> {
        let wide = product(pass, method, block.fc1, x)?;
        let wide = activation(pass.tape, &wide, Activation::Gelu)?;
        let h = product(pass, method, block.fc2, &wide)?;
        scaled(pass, block.layer_scale.map(|scales| scales[1]), h)
    }

    /// Adds `h` to the residual stream and normalises: `[r, x]`. Additions are counted from 0, two to a block.
    fn norm(
        &self,
        pass: &mut Pass,
        method: &dyn Method,
        norm: Affine,
        (h, residual): (&Var, Option<&Var>),
        addition: Option<usize>,
    ) -> Result<[Var; 2]> {
        let keep = addition.and_then(|addition| pass.noise.keep(addition));
        let settings = norm.norm(pass.params, self.config.eps);
        let [r, x] = add_layer_norm(pass.tape, h, residual, settings, keep)?;
        let x = method.site(pass, norm.weight, &r, x)?;
        Ok([r, x])
    }

    /// What block `i` makes of the tokens that enter it.
    fn block(&self, pass: &mut Pass, method: &dyn Method, i: usize, entering: Tokens) -> Result<Tokens> {
        let (tape, block) = (pass.tape, &self.params.blocks[i]);
        tape.scope(format!("blocks.{i}"));
        // What enters block i is the output of the MLP of block i - 1, and is dropped at that block's rate.
        let (before, first) = ((&entering.h, entering.residual.as_ref()), (2 * i).checked_sub(1));
        let [r, x] = self.norm(pass, method, block.norm1, before, first)?;
        let (h, attention) = self.attention(pass, method, i, &x, &entering)?;
        let (h, r) = joined(pass, method, (i, Branch::Attention), h, r)?;
        let [r, x] = self.norm(pass, method, block.norm2, (&h, Some(&r)), Some(2 * i))?;
        let h = self.mlp(pass, method, block, &x)?;
        let (h, r) = joined(pass, method, (i, Branch::Mlp), h, r)?;
        Ok(Tokens { h, residual: Some(r), attention, ..entering })
    }

    /// The rows after the last block, and what is pooled of them otherwise than by the class token's row.
    fn ended(&self, pass: &mut Pass, method: &dyn Method, tokens: Tokens) -> Result<Tokens> {
        let (norm, last) = (self.params.norm, 2 * self.config.depth - 1);
        let before = (&tokens.h, tokens.residual.as_ref());
        if self.config.pool == Pool::Class {
            let [_, hidden] = self.norm(pass, method, norm, before, Some(last))?;
            return Ok(Tokens { h: hidden, residual: None, ..tokens });
        }
        // The norm of the rows is not used here, only their sum.
        let settings = norm.norm(pass.params, self.config.eps);
        let [r, _] = add_layer_norm(pass.tape, before.0, before.1, settings, pass.noise.keep(last))?;
        let class_row = tokens.class_row.expect("a ViT has a class token");
        let mean = mean_rows(pass.tape, &r, Some(class_row))?;
        let pooled = layer_norm(pass.tape, &mean, settings)?;
        let pooled = Some(method.site(pass, norm.weight, &mean, pooled)?);
        Ok(Tokens { h: r, residual: None, pooled, ..tokens })
    }
}

/// A product of the backbone, adapted by the method.
fn product(pass: &mut Pass, method: &dyn Method, of: Affine, x: &Var) -> Result<Var> {
    let y = linear(pass.tape, x, &pass.params[of.weight], Some(&pass.params[of.bias]))?;
    method.site(pass, of.weight, x, y)
}

/// Runs `work` on the sequences beside the tokens, and then on these.
fn each_sequence(
    pass: &mut Pass,
    mut tokens: Tokens,
    work: &mut dyn FnMut(&mut Pass, Tokens) -> Result<Tokens>,
) -> Result<Tokens> {
    let mut beside = vec![];
    for (number, tokens) in std::mem::take(&mut tokens.beside).into_iter().enumerate() {
        pass.sequence = number + 1;
        beside.push(work(pass, tokens)?);
    }
    pass.sequence = 0;
    Ok(Tokens { beside, ..work(pass, tokens)? })
}

/// What a branch has computed of the stream, and the stream that it is added to, adapted by the method.
fn joined(
    pass: &mut Pass,
    method: &dyn Method,
    at: (usize, Branch),
    h: Var,
    stream: Var,
) -> Result<(Var, Var)> {
    let h = method.branch(pass, at, &stream, h)?;
    Ok((h, method.shortcut(pass, at, stream)?))
}

/// A branch's output times the factors of its channels, where there are such.
fn scaled(pass: &Pass, scale: Option<ParamId>, h: Var) -> Result<Var> {
    match scale {
        Some(scale) => Ok(scale_shift(pass.tape, &h, &pass.params[scale], None)?),
        None => Ok(h),
    }
}

impl Backbone for Vit {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn is_product_weight(&self, tensor: &str) -> bool {
        weights::is_product_weight(tensor)
    }

    fn facts(&self) -> Metadata {
        facts::written(&self.config)
    }

    fn forward(&self, pass: &mut Pass, images: &Var, method: &dyn Method) -> Result<Tokens> {
        let tape = pass.tape;
        tape.scope("patch_embed");
        let h = self.stem(pass, images, method)?;
        let mut tokens = method.stem(pass, Tokens::stem(h, Some(0)))?;
        for i in 0..self.params.blocks.len() {
            let (entering, generated) = method.block(pass, i, tokens)?;
            assert!(generated.is_empty(), "methods that generate prompts do not list this family");
            tokens = each_sequence(pass, entering, &mut |pass, tokens| self.block(pass, method, i, tokens))?;
            tokens = method.after(pass, i, tokens)?;
        }
        tape.scope("norm");
        let ended = each_sequence(pass, tokens, &mut |pass, tokens| self.ended(pass, method, tokens))?;
        method.ended(pass, ended)
    }
}
