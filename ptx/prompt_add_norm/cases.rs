//! Cases of prompt add + residual add + norm.

use autograd::{Noted, Tape, Var};
use engine::{DType, Result, Tensor};
use onnx::Graph;

use super::call::at;
use super::reference::AddNorm;
use super::{Keep, Prompt, Settings, prompt_add_norm};
use crate::export::{Call, Written};
use crate::spec::{Asked, Axis, Case, Cost, Input, Op, Values, WARP, sum_tolerance};

pub(crate) struct Cases;

/// Positions of the inputs that every case has.
const H: usize = 0;
const WEIGHT: usize = 1;

/// Rows of a scale, and the one that a case uses.
const ROWS: usize = 3;
const ROW: usize = 1;

/// Names of the inputs of each prompt.
const PROMPTS: [[&str; 3]; 2] =
    [["inner", "inner_bias", "inner_scale"], ["cross", "cross_bias", "cross_scale"]];

impl Cases {
    /// The token without prompts.
    fn skip(case: &Case) -> Option<usize> {
        case.is("skip").then(|| case.get("l") / 2)
    }

    /// Drop path drops every other image.
    fn keep(case: &Case) -> Vec<f32> {
        if !case.is("keep") {
            return vec![];
        }
        (0..case.get("b")).map(|b| if b % 2 == 0 { 1.25 } else { 0.0 }).collect()
    }

    /// Positions of the residual, where there is one, and of the first prompt's inputs.
    fn at(case: &Case) -> (Option<usize>, usize) {
        if case.is("residual") { (Some(2), 3) } else { (None, 2) }
    }
}

impl Op for Cases {
    fn name(&self) -> &'static str {
        "prompt_add_norm"
    }

    fn formula(&self) -> &'static str {
        "r = r + keep·(h + Σ scale·silu(prompt + bias)), out = w·r / rms(r)"
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = vec![];
        let sizes = [(1, 1, 8), (2, 5, 33), (3, 16, 7), (1, 197, 40), (2, 785, 19), (1, 6, 260)];
        for (b, l, d) in sizes {
            for (residual, prompts, skip, keep, frozen) in
                [(0, 0, 0, 0, 0), (1, 0, 0, 1, 1), (0, 1, 1, 0, 1), (1, 2, 1, 1, 0), (1, 2, 0, 0, 1)]
            {
                let switches = [("residual", residual), ("prompts", prompts), ("skip", skip), ("keep", keep)];
                let sizes = [("b", b), ("l", l), ("d", d), ("frozen", frozen)];
                cases.push(Case::new(&[&sizes[..], &switches[..]].concat()));
            }
        }
        let switches = [("residual", 1), ("prompts", 2), ("skip", 1), ("frozen", 1)];
        cases.push(Case::bench(&[&[("b", 8), ("l", 197), ("d", 384)], &switches[..]].concat()));
        cases
    }

    fn inputs(&self, case: &Case) -> Vec<Input> {
        let (d, shape) = (case.get("d"), [case.get("b"), case.get("l"), case.get("d")]);
        let mut inputs =
            vec![Input::normal("h", &shape, true).typed(), Input::normal("weight", &[d], !case.is("frozen"))];
        if case.is("residual") {
            inputs.push(Input::normal("residual", &shape, true));
        }
        for names in PROMPTS.iter().take(case.get("prompts")) {
            inputs.push(Input::normal(names[0], &shape, true).typed());
            inputs.push(Input::normal(names[1], &[d], true));
            inputs.push(Input::normal(names[2], &[ROWS, d], true));
        }
        inputs
    }

    fn forward(&self, case: &Case, tape: &Tape, inputs: &[Var]) -> Result<Vec<Var>> {
        let (residual, first) = Self::at(case);
        let prompts: Vec<Prompt> = inputs[first..]
            .chunks_exact(3)
            .map(|p| Prompt { generated: &p[0], bias: &p[1], scale: &p[2], row: ROW })
            .collect();
        let keep = Self::keep(case);
        // They are the second of two rows; the first must not be read.
        let rows = [vec![f32::NAN; keep.len()], keep].concat();
        let scales = Tensor::from_slice(tape.device(), &rows, &[2, rows.len() / 2]);
        let keep = case.is("keep").then_some(Keep { scales: &scales, row: 1 });
        let settings = Settings { skip: Self::skip(case), keep };
        let residual = residual.map(|i| &inputs[i]);
        Ok(prompt_add_norm(tape, &inputs[H], residual, &prompts, &inputs[WEIGHT], settings)?.to_vec())
    }

    fn reference(&self, case: &Case, inputs: &[Vec<f64>]) -> Values {
        let keep: Vec<f64> = Self::keep(case).into_iter().map(f64::from).collect();
        let (sum, out) = reference(case, inputs, &keep).forward();
        vec![sum, out]
    }

    fn reference_grad(&self, case: &Case, inputs: &[Vec<f64>], grads: &[Vec<f64>]) -> Values {
        let keep: Vec<f64> = Self::keep(case).into_iter().map(f64::from).collect();
        let g = reference(case, inputs, &keep).backward(&grads[0], &grads[1]);
        let mut all = vec![g.h, g.weight];
        if case.is("residual") {
            all.push(g.residual);
        }
        for [generated, bias, scale] in g.prompts {
            let mut rows = vec![0.0; ROWS * case.get("d")];
            rows[ROW * case.get("d")..(ROW + 1) * case.get("d")].copy_from_slice(&scale);
            all.extend([generated, bias, rows]);
        }
        all
    }

    fn tolerance(&self, case: &Case) -> f64 {
        2e-6 + sum_tolerance((case.get("b") * case.get("l")).max(case.get("d")))
    }

    fn cost(&self, case: &Case, dtype: DType) -> (Cost, Cost) {
        let typed = dtype.size() as f64;
        let n = (case.get("b") * case.get("l") * case.get("d")) as f64;
        let apart = f64::from(u8::from(dtype != DType::F32));
        let (r, p) = (case.get("residual") as f64, case.get("prompts") as f64);
        (
            Cost {
                bytes: n * (typed * (2.0 + p) + 4.0 * (1.0 + r)),
                flop: n * (6.0 + 7.0 * p),
                exp: p * n,
                slots: p * 30.0 * n / WARP,
                ..Cost::default()
            },
            // It reads the sum, both upstream gradients and the prompts. It writes the gradients of the residual, of h
            // where that has another type, and of the prompts.
            Cost {
                bytes: n * (typed * (1.0 + apart + 2.0 * p) + 12.0),
                flop: n * (10.0 + 14.0 * p),
                exp: 2.0 * p * n,
                slots: p * 48.0 * n / WARP,
                ..Cost::default()
            },
        )
    }

    fn onnx(&self, graph: &mut Graph, call: &Call) -> Written {
        Ok(super::onnx::write(graph, call))
    }

    fn noted(&self, call: &Noted) -> Option<Case> {
        let &[b, l, d] = &call.inputs[H].0[..] else { return None };
        let prompts = (call.inputs.len() - at::generated(0)) / 3;
        Some(Case::new(&[("b", b), ("l", l), ("d", d), ("prompts", prompts)]))
    }

    /// The sum, the weight, all of the prompts, and both rows of drop path's factors.
    fn kept(&self, case: &Case, asked: &Asked) -> Vec<usize> {
        let sum = asked.inputs[H].shape.iter().product::<usize>() * DType::F32.size();
        let keep = case.is("keep").then_some(2 * case.get("b") * DType::F32.size());
        let saved = ["weight"].into_iter().chain(PROMPTS.into_iter().flatten());
        [sum].into_iter().chain(keep).chain(saved.filter_map(|name| asked.bytes(name))).collect()
    }

    /// From 1024 rows on the backward pass takes that many blocks.
    fn training(&self) -> Vec<Axis> {
        vec![Axis::images([8, 16, 12])]
    }
}

fn reference<'a>(case: &Case, inputs: &'a [Vec<f64>], keep: &'a [f64]) -> AddNorm<'a, f64> {
    let (residual, first) = Cases::at(case);
    let d = case.get("d");
    AddNorm {
        l: case.get("l"),
        d,
        skip: Cases::skip(case),
        h: &inputs[H],
        residual: residual.map_or(&[], |i| &inputs[i]),
        prompts: inputs[first..]
            .chunks_exact(3)
            .map(|p| [&p[0][..], &p[1], &p[2][ROW * d..(ROW + 1) * d]])
            .collect(),
        weight: &inputs[WEIGHT],
        keep,
    }
}
