//! Cases of SGD.

use autograd::{Tape, Var};
use engine::{DType, Result, Tensor};

use super::{Settings, Slot, reference};
use crate::grad_norm::healthy;
use crate::spec::{Asked, Axis, Case, Cost, Draw, Input, Op, Values, sum_tolerance};

/// Trained elements of SVP on Vim-S.
const TRAINED: usize = 1_644_288;

pub(crate) struct Cases;

/// A large rate, so that a wrong update shows in `p`.
fn settings(case: &Case) -> Settings {
    let weight_decay = if case.is("decay") { 0.1 } else { 0.0 };
    Settings { lr: 0.5, momentum: if case.is("momentum") { 0.9 } else { 0.0 }, weight_decay }
}

impl Op for Cases {
    fn name(&self) -> &'static str {
        "sgd"
    }

    fn formula(&self) -> &'static str {
        "buf = momentum buf + g + wd p, p = p - lr buf"
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = vec![];
        for n in [1, 5, 197, 785 * 33] {
            // The last: the first step of a run.
            for (decay, momentum, first) in [(0, 0, 0), (0, 1, 0), (1, 1, 0), (1, 1, 1)] {
                let switches = [("decay", decay), ("momentum", momentum), ("first", first)];
                cases.push(Case::new(&[&[("n", n)], &switches[..]].concat()));
            }
        }
        cases.push(Case::bench(&[("n", TRAINED), ("decay", 1), ("momentum", 1)]));
        cases
    }

    fn inputs(&self, case: &Case) -> Vec<Input> {
        let n = [case.get("n")];
        let spread = if case.is("first") { 0.0 } else { 1.0 };
        vec![
            Input::normal("param", &n, false),
            Input::normal("grad", &n, false),
            Input::new("buffer", &n, Draw::Normal(0.0, spread), false),
        ]
    }

    /// Steps on copies and returns the new p and buffer.
    fn forward(&self, case: &Case, tape: &Tape, inputs: &[Var]) -> Result<Vec<Var>> {
        let copy = |i: usize| inputs[i].value().to_owned_on(tape.device());
        let (mut param, mut buffer) = (copy(0), copy(2));
        let (grad, decay) = (inputs[1].value(), case.is("decay"));
        let slot = Slot { param: &mut param, grad, buffer: &mut buffer, decay };
        // The switch of the slot, not a zero rate, must stop the decay.
        let settings = Settings { weight_decay: 0.1, ..settings(case) };
        let factors = Tensor::from_slice(tape.device(), &super::factors(&settings), &[3]);
        super::step(tape.device(), &mut [slot], &factors, &healthy(tape.device()))?;
        Ok([param, buffer].map(Var::constant).into())
    }

    fn reference(&self, case: &Case, x: &[Vec<f64>]) -> Values {
        reference::step(&settings(case), &x[0], &x[1], &x[2]).into()
    }

    fn reference_grad(&self, _: &Case, _: &[Vec<f64>], _: &[Vec<f64>]) -> Values {
        unreachable!("no case asks for a gradient")
    }

    /// Three roundings an element, and those of the factors.
    fn tolerance(&self, _: &Case) -> f64 {
        sum_tolerance(3)
    }

    /// The step reads three values and writes two. The copies are the case's, not the op's: a bench pays for them too.
    fn cost(&self, case: &Case, _: DType) -> (Cost, Cost) {
        let n = case.get("n") as f64;
        (Cost { bytes: 20.0 * n, flop: 6.0 * n, ..Cost::default() }, Cost::default())
    }

    /// It has no backward pass.
    fn kept(&self, _: &Case, _: &Asked) -> Vec<usize> {
        vec![]
    }

    fn training(&self) -> Vec<Axis> {
        vec![Axis::new("n", [1 << 15, 1 << 16, 1 << 17], TRAINED)]
    }
}
