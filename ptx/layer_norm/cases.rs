//! Cases of residual add and layer normalisation.

use autograd::{Noted, Tape, Var};
use engine::{DType, Result, Tensor};
use onnx::Graph;

use super::call::at;
use super::reference::LayerNorm;
use super::{Norm, add_layer_norm, layer_norm};
use crate::export::{Call, Written};
use crate::prompt_add_norm::Keep;
use crate::spec::{Asked, Axis, Case, Cost, Draw, Input, Op, Values, sum_tolerance};

pub(crate) struct Cases;

/// That of `timm`, and a large one, so that a forgotten or misplaced one is seen.
const EPS: [f32; 2] = [1e-6, 0.25];

impl Cases {
    fn eps(case: &Case) -> f32 {
        EPS[case.get("large_eps")]
    }

    /// Drop path drops every other image.
    fn keep(case: &Case) -> Vec<f32> {
        if !case.is("keep") {
            return vec![];
        }
        (0..case.get("b")).map(|b| if b % 2 == 0 { 1.25 } else { 0.0 }).collect()
    }
}

impl Op for Cases {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn formula(&self) -> &'static str {
        "r = r + keep·h, out = w·(r - mean(r)) / √(var(r) + eps) + bias"
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = vec![];
        // The last has more rows than blocks of a backward pass.
        let sizes = [(1, 2, 8), (2, 5, 33), (3, 16, 7), (1, 197, 40), (2, 6, 260), (2, 785, 19)];
        for (b, l, d) in sizes {
            for (adds, residual, keep, frozen, large_eps) in [
                (0, 0, 0, 0, 0),
                (0, 0, 0, 1, 1),
                (1, 0, 0, 0, 1),
                (1, 1, 0, 1, 0),
                (1, 1, 1, 0, 1),
                (1, 0, 1, 1, 0),
            ] {
                let switches = [
                    ("adds", adds),
                    ("residual", residual),
                    ("keep", keep),
                    ("frozen", frozen),
                    ("large_eps", large_eps),
                ];
                cases.push(Case::new(&[&[("b", b), ("l", l), ("d", d)], &switches[..]].concat()));
            }
        }
        // In a block of ViT-B at batch 8.
        let switches = [("adds", 1), ("residual", 1), ("frozen", 1)];
        cases.push(Case::bench(&[&[("b", 8), ("l", 197), ("d", 768)], &switches[..]].concat()));
        cases
    }

    fn inputs(&self, case: &Case) -> Vec<Input> {
        let (d, trained) = (case.get("d"), !case.is("frozen"));
        let shape = [case.get("b"), case.get("l"), d];
        // Rows have a mean, as those of a residual stream do.
        let mut inputs = vec![
            Input::new("x", &shape, Draw::Normal(0.5, 1.0), true).typed(),
            Input::new("weight", &[d], Draw::Normal(1.0, 0.5), trained),
            Input::normal("bias", &[d], trained),
        ];
        if case.is("residual") {
            inputs.push(Input::normal("residual", &shape, true));
        }
        inputs
    }

    fn forward(&self, case: &Case, tape: &Tape, inputs: &[Var]) -> Result<Vec<Var>> {
        let norm = Norm { weight: &inputs[at::WEIGHT], bias: &inputs[at::BIAS], eps: Self::eps(case) };
        if !case.is("adds") {
            return Ok(vec![layer_norm(tape, &inputs[at::X], norm)?]);
        }
        let keep = Self::keep(case);
        // They are the second of two rows; the first must not be read.
        let rows = [vec![f32::NAN; keep.len()], keep].concat();
        let scales = Tensor::from_slice(tape.device(), &rows, &[2, rows.len() / 2]);
        let keep = case.is("keep").then_some(Keep { scales: &scales, row: 1 });
        Ok(add_layer_norm(tape, &inputs[at::X], inputs.get(at::RESIDUAL), norm, keep)?.to_vec())
    }

    fn reference(&self, case: &Case, inputs: &[Vec<f64>]) -> Values {
        let keep: Vec<f64> = Self::keep(case).into_iter().map(f64::from).collect();
        let (sum, out) = reference(case, inputs, &keep).forward();
        if case.is("adds") { vec![sum, out] } else { vec![out] }
    }

    fn reference_grad(&self, case: &Case, inputs: &[Vec<f64>], grads: &[Vec<f64>]) -> Values {
        let keep: Vec<f64> = Self::keep(case).into_iter().map(f64::from).collect();
        let none = vec![0.0; inputs[at::X].len()];
        let (dsum, dout) = if case.is("adds") { (&grads[0], &grads[1]) } else { (&none, &grads[0]) };
        let grads = reference(case, inputs, &keep).backward(dsum, dout);
        vec![grads.h, grads.weight, grads.bias, grads.residual]
    }

    fn tolerance(&self, case: &Case) -> f64 {
        2e-6 + sum_tolerance((case.get("b") * case.get("l")).max(case.get("d")))
    }

    fn cost(&self, case: &Case, dtype: DType) -> (Cost, Cost) {
        let n = (case.get("b") * case.get("l") * case.get("d")) as f64;
        let (f32s, typed) = (4.0 * n, dtype.size() as f64 * n);
        let [adds, residual, keep] = ["adds", "residual", "keep"].map(|switch| case.is(switch));
        // What is normalised is an f32 tensor of its own, or x.
        let computed = residual || keep || (adds && dtype != DType::F32);
        let sum = if computed { f32s } else { typed };
        let of = |wanted: bool, amount: f64| if wanted { amount } else { 0.0 };
        let forward = 2.0 * typed + of(residual, f32s) + of(computed, f32s);
        // It reads dout, what was normalised and what arrives at the sum, and writes the gradients of the residual and of
        // h, which may be one.
        let one = residual && !keep && dtype == DType::F32;
        let backward = typed + sum + of(adds, f32s) + of(residual, f32s) + of(!one, typed);
        let trained = of(!case.is("frozen"), 3.0);
        (
            Cost { bytes: forward, flop: n * (8.0 + of(residual, 1.0)), ..Cost::default() },
            Cost { bytes: backward, flop: n * (13.0 + trained), ..Cost::default() },
        )
    }

    fn onnx(&self, graph: &mut Graph, call: &Call) -> Written {
        Ok(super::onnx::write(graph, call))
    }

    fn noted(&self, call: &Noted) -> Option<Case> {
        let [(x, _), (weight, w), (_, b), (residual, _)] = &call.inputs[..] else { return None };
        let d = *weight.first()?;
        let rows = x.iter().product::<usize>() / d.max(1);
        let switches = [("residual", usize::from(*residual != [0])), ("frozen", usize::from(!w && !b))];
        Some(Case::new(&[&[("b", 1), ("l", rows), ("d", d)], &switches[..]].concat()))
    }

    /// What was normalised, unless the bias alone is asked for; the weight for what comes through the norm, and with it both
    /// rows of drop path's factors.
    fn kept(&self, case: &Case, asked: &Asked) -> Vec<usize> {
        let (n, through) = (
            asked.inputs[at::X].shape.iter().product::<usize>(),
            asked.wants("x") || asked.wants("residual"),
        );
        let f32s = |n: usize| n * DType::F32.size();
        let sum = if case.is("adds") { Some(f32s(n)) } else { asked.bytes("x") };
        let keep = case.is("keep").then(|| f32s(2 * case.get("b")));
        let weight = asked.bytes("weight").filter(|_| through);
        [sum.filter(|_| through || asked.wants("weight")), weight, keep].into_iter().flatten().collect()
    }

    /// From 1024 rows on the backward pass takes that many blocks.
    fn training(&self) -> Vec<Axis> {
        vec![Axis::images([8, 16, 12])]
    }
}

fn reference<'a>(case: &Case, inputs: &'a [Vec<f64>], keep: &'a [f64]) -> LayerNorm<'a, f64> {
    LayerNorm {
        l: case.get("l"),
        h: &inputs[at::X],
        residual: inputs.get(at::RESIDUAL).map_or(&[], Vec::as_slice),
        weight: &inputs[at::WEIGHT],
        bias: &inputs[at::BIAS],
        eps: f64::from(Cases::eps(case)),
        keep,
    }
}
