//! Cases of the chain of prompts.

use autograd::{Noted, Tape, Var};
use engine::{DType, Result};
use onnx::Graph;

use super::{Reach, prompt_chain, reference};
use crate::export::{Call, Written};
use crate::spec::{Asked, Axis, Case, Cost, Input, Op, Values, sum_tolerance};

/// `n` prompts for each of `k` layers behind the first, with matrices (`mixed`), with all layers before (`all`), or with the
/// last one alone.
pub(crate) struct Cases;

/// The prompts of all layers, and the matrices, which are identities where there are none.
fn parts(case: &Case, x: &[Vec<f64>]) -> (Vec<f64>, Vec<f64>) {
    let [k, n] = ["k", "n"].map(|name| case.get(name));
    let same = || (0..k * n * n).map(|at| f64::from(u8::from(at / n % n == at % n))).collect();
    (x[..2].concat(), x.get(2).cloned().unwrap_or_else(same))
}

fn chain<'a>(case: &Case, matrices: &'a [f64]) -> reference::Chain<'a, f64> {
    let [k, n, d] = ["k", "n", "d"].map(|name| case.get(name));
    reference::Chain { layers: k + 1, n, d, all: case.is("all"), matrices }
}

impl Op for Cases {
    fn name(&self) -> &'static str {
        "prompt_chain"
    }

    fn formula(&self) -> &'static str {
        "y_l = p_l + m_l p_(l-1), or p_0 + ... + p_l"
    }

    /// One layer and several, one prompt and more than fill a warp, more channels than a warp has lanes.
    fn cases(&self) -> Vec<Case> {
        let case = |[k, n, d]: [usize; 3]| Case::new(&[("k", k), ("n", n), ("d", d)]);
        let mut cases = vec![];
        for sizes in [[1, 1, 1], [1, 3, 5], [2, 5, 32], [3, 2, 70], [2, 40, 7]] {
            let plain = case(sizes);
            cases.extend([plain.clone(), plain.with("all", 1), plain.with("mixed", 1)]);
        }
        // ViT-B with ten prompts.
        cases.push(Case::bench(&[("k", 11), ("n", 10), ("d", 768), ("mixed", 1)]));
        cases
    }

    fn inputs(&self, case: &Case) -> Vec<Input> {
        let [k, n, d] = ["k", "n", "d"].map(|name| case.get(name));
        let mut inputs =
            vec![Input::normal("first", &[1, n, d], true), Input::normal("later", &[k, n, d], true)];
        if case.is("mixed") {
            inputs.push(Input::normal("matrices", &[k, n, n], true));
        }
        inputs
    }

    fn forward(&self, case: &Case, tape: &Tape, inputs: &[Var]) -> Result<Vec<Var>> {
        let reach = if case.is("all") { Reach::All } else { Reach::Previous(inputs.get(2)) };
        Ok(vec![prompt_chain(tape, &inputs[0], &inputs[1], reach)?])
    }

    fn reference(&self, case: &Case, x: &[Vec<f64>]) -> Values {
        let (prompts, matrices) = parts(case, x);
        vec![chain(case, &matrices).forward(&prompts)]
    }

    fn reference_grad(&self, case: &Case, x: &[Vec<f64>], grads: &[Vec<f64>]) -> Values {
        let (prompts, matrices) = parts(case, x);
        let [mut first, dm] = chain(case, &matrices).backward(&prompts, &grads[0]);
        let later = first.split_off(x[0].len());
        if case.is("mixed") { vec![first, later, dm] } else { vec![first, later] }
    }

    fn tolerance(&self, case: &Case) -> f64 {
        sum_tolerance(case.get("k").max(case.get("n")).max(case.get("d")))
    }

    /// Running sums take one addition for each value, as do those of the layer before; a mixing is a product.
    fn cost(&self, case: &Case, _: DType) -> (Cost, Cost) {
        let [k, n, d] = ["k", "n", "d"].map(|name| case.get(name) as f64);
        let (prompts, mixed) = (n * d, f64::from(case.is("mixed")));
        let products = mixed * 2.0 * k * n * n * d;
        let matrices = mixed * k * n * n;
        (
            Cost {
                bytes: 4.0 * ((2.0 * k + 1.0) * prompts + matrices),
                flop: k * prompts + products,
                ..Cost::default()
            },
            Cost {
                bytes: 4.0 * ((2.0 * k + 1.0 + mixed * (k + 1.0)) * prompts + 2.0 * matrices),
                flop: k * prompts + 2.0 * products,
                ..Cost::default()
            },
        )
    }

    fn onnx(&self, graph: &mut Graph, call: &Call) -> Written {
        Ok(super::onnx::write(graph, call))
    }

    fn noted(&self, call: &Noted) -> Option<Case> {
        let [_, (later, _), (matrices, _)] = &call.inputs[..] else { return None };
        let mixed = usize::from(*matrices != [0]);
        Some(Case::new(&[("k", later[0]), ("n", later[1]), ("d", later[2]), ("mixed", mixed)]))
    }

    fn kept(&self, case: &Case, asked: &Asked) -> Vec<usize> {
        if !case.is("mixed") {
            return vec![];
        }
        let of = |name: &str| asked.bytes(name).expect("an input of the case");
        let mut kept = vec![];
        if asked.wants("first") || asked.wants("later") {
            kept.push(of("matrices"));
        }
        if asked.wants("matrices") {
            kept.extend([of("first"), of("later")]);
        }
        kept
    }

    /// The bench case is that of training, and small enough for the emulator.
    fn training(&self) -> Vec<Axis> {
        vec![]
    }
}
