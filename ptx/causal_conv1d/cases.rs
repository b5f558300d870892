//! Cases of the convolution.

use autograd::{Noted, Tape, Var};
use engine::{DType, Result};
use onnx::Graph;

use super::call::at;
use super::reference::Conv;
use super::{Filter, causal_conv1d};
use crate::export::{Call, Written};
use crate::spec::{Asked, Axis, Case, Cost, Draw, Input, Op, Values, WARP, sum_tolerance};

pub(crate) struct Cases;

impl Cases {
    fn conv(case: &Case, reverse: bool) -> Conv {
        Conv { l: case.get("l"), e: case.get("e"), k: case.get("k"), reverse }
    }

    /// The first half of xz.
    fn x(case: &Case, xz: &[f64]) -> Vec<f64> {
        xz.chunks_exact(2 * case.get("e")).flat_map(|row| row[..case.get("e")].to_vec()).collect()
    }
}

impl Op for Cases {
    fn name(&self) -> &'static str {
        "causal_conv1d"
    }

    fn formula(&self) -> &'static str {
        "u_f[t] = silu(b + Σ w[k] x[t-K+1+k]), u_b[t] = silu(b' + Σ w'[k] x[t+K-1-k])"
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = vec![];
        for (b, l, e, k) in
            [(1, 1, 8, 4), (2, 5, 24, 4), (1, 6, 33, 3), (3, 37, 40, 2), (1, 197, 19, 4), (1, 785, 16, 4)]
        {
            for frozen in [0, 1] {
                cases.push(Case::new(&[("b", b), ("l", l), ("e", e), ("k", k), ("frozen", frozen)]));
            }
        }
        // Biases alone are trained, beside the activations' gradients and without them.
        for (sizes, activations) in [([2, 37, 24, 4], 1), ([1, 70, 19, 3], 0), ([1, 197, 16, 4], 0)] {
            let [b, l, e, k] = sizes;
            let switches = [("frozen", 1), ("biases", 1), ("activations", activations)];
            cases.push(Case::new(&[&[("b", b), ("l", l), ("e", e), ("k", k)], &switches[..]].concat()));
        }
        cases.push(Case::bench(&[("b", 8), ("l", 197), ("e", 768), ("k", 4), ("frozen", 1)]));
        cases
    }

    fn inputs(&self, case: &Case) -> Vec<Input> {
        let (e, trained, biases) = (case.get("e"), !case.is("frozen"), case.is("biases"));
        let weight = |name| Input::new(name, &[e, 1, case.get("k")], Draw::Normal(0.0, 0.5), trained);
        let bias = |name| Input::normal(name, &[e], trained || biases);
        let activations = !biases || case.is("activations");
        vec![
            Input::normal("xz", &[case.get("b"), case.get("l"), 2 * e], activations).typed(),
            weight("weight_f"),
            bias("bias_f"),
            weight("weight_b"),
            bias("bias_b"),
        ]
    }

    fn forward(&self, _: &Case, tape: &Tape, inputs: &[Var]) -> Result<Vec<Var>> {
        let filter = |dir| Filter { weight: &inputs[at::weight(dir)], bias: &inputs[at::bias(dir)] };
        Ok(causal_conv1d(tape, &inputs[at::XZ], [0, 1].map(filter))?.to_vec())
    }

    fn reference(&self, case: &Case, inputs: &[Vec<f64>]) -> Values {
        let x = Self::x(case, &inputs[at::XZ]);
        let run = |dir: usize| {
            Self::conv(case, dir == 1).forward(&x, &inputs[at::weight(dir)], &inputs[at::bias(dir)])
        };
        vec![run(0), run(1)]
    }

    fn reference_grad(&self, case: &Case, inputs: &[Vec<f64>], grads: &[Vec<f64>]) -> Values {
        let (x, e) = (Self::x(case, &inputs[at::XZ]), case.get("e"));
        let run = |dir: usize| {
            let (weight, bias) = (&inputs[at::weight(dir)], &inputs[at::bias(dir)]);
            Self::conv(case, dir == 1).backward(&x, weight, bias, &grads[dir])
        };
        let ([dx_f, dw_f, db_f], [dx_b, dw_b, db_b]) = (run(0), run(1));
        let mut dxz = vec![0.0; inputs[at::XZ].len()];
        for i in 0..dx_f.len() {
            dxz[i / e * 2 * e + i % e] = dx_f[i] + dx_b[i];
        }
        vec![dxz, dw_f, db_f, dw_b, db_b]
    }

    fn tolerance(&self, case: &Case) -> f64 {
        2e-6 + sum_tolerance(case.get("b") * case.get("l"))
    }

    fn cost(&self, case: &Case, dtype: DType) -> (Cost, Cost) {
        let typed = dtype.size() as f64;
        let n = (case.get("b") * case.get("l") * case.get("e")) as f64;
        let taps = case.get("k") as f64;
        (
            Cost {
                bytes: 3.0 * typed * n,
                flop: 2.0 * n * (2.0 * taps + 4.0),
                exp: 2.0 * n,
                slots: 2.0 * n * (2.0 * taps + 5.5) / WARP,
                ..Cost::default()
            },
            Cost {
                bytes: 4.0 * typed * n,
                flop: 2.0 * n * (4.0 * taps + 8.0),
                exp: 2.0 * n,
                slots: 2.0 * n * (4.0 * taps + 19.0) / WARP,
                ..Cost::default()
            },
        )
    }

    fn onnx(&self, graph: &mut Graph, call: &Call) -> Written {
        Ok(super::onnx::write(graph, call))
    }

    fn noted(&self, call: &Noted) -> Option<Case> {
        let (&[b, l, _], &[e, _, k]) = (&call.inputs[at::XZ].0[..], &call.inputs[at::weight(0)].0[..]) else {
            return None;
        };
        Some(Case::new(&[("b", b), ("l", l), ("e", e), ("k", k)]))
    }

    fn kept(&self, _: &Case, asked: &Asked) -> Vec<usize> {
        asked.bytes_of_all()
    }

    fn training(&self) -> Vec<Axis> {
        vec![Axis::images([1, 2, 3])]
    }
}
