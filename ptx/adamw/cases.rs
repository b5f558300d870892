//! Cases of AdamW.

use autograd::{Tape, Var};
use engine::{DType, Result, Tensor};

use super::{Settings, Slot, reference};
use crate::grad_norm::healthy;
use crate::spec::{Asked, Axis, Case, Cost, Draw, Input, Op, Values, sum_tolerance};

pub(crate) struct Cases;

/// Trained elements of SVP on Vim-S.
const TRAINED: usize = 1_644_288;

/// A large rate, so that a wrong update shows in `p`.
fn settings(case: &Case) -> Settings {
    let weight_decay = if case.is("decay") { 0.1 } else { 0.0 };
    Settings { lr: 0.5, weight_decay, ..Settings::default() }
}

impl Op for Cases {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn formula(&self) -> &'static str {
        "p = (1 - lr wd) p - lr m̂ / (√v̂ + eps)"
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = vec![];
        for n in [1, 5, 197, 785 * 33] {
            for (decay, step) in [(0, 1), (1, 1), (1, 1000)] {
                cases.push(Case::new(&[("n", n), ("decay", decay), ("step", step)]));
            }
        }
        cases.push(Case::bench(&[("n", TRAINED), ("decay", 1), ("step", 10)]));
        cases
    }

    fn inputs(&self, case: &Case) -> Vec<Input> {
        let n = [case.get("n")];
        vec![
            Input::normal("param", &n, false),
            Input::normal("grad", &n, false),
            Input::normal("m", &n, false),
            Input::new("v", &n, Draw::Uniform(0.1, 1.0), false),
        ]
    }

    /// Steps on copies, and returns the new p, m and v.
    fn forward(&self, case: &Case, tape: &Tape, inputs: &[Var]) -> Result<Vec<Var>> {
        let copy = |i: usize| inputs[i].value().to_owned_on(tape.device());
        let (mut param, mut m, mut v) = (copy(0), copy(2), copy(3));
        let (grad, decay) = (inputs[1].value(), case.is("decay"));
        let slot = Slot { param: &mut param, grad, m: &mut m, v: &mut v, decay };
        // The switch of the slot, not a zero rate, must stop the decay.
        let settings = Settings { weight_decay: 0.1, ..settings(case) };
        let factors = super::factors(&settings, case.get("step") as u64)?;
        let factors = Tensor::from_slice(tape.device(), &factors, &[7]);
        super::step(tape.device(), &mut [slot], &factors, &healthy(tape.device()))?;
        Ok([param, m, v].map(Var::constant).into())
    }

    fn reference(&self, case: &Case, x: &[Vec<f64>]) -> Values {
        reference::step(&settings(case), case.get("step") as i32, &x[0], &x[1], &x[2], &x[3]).into()
    }

    fn reference_grad(&self, _: &Case, _: &[Vec<f64>], _: &[Vec<f64>]) -> Values {
        unreachable!("no case asks for a gradient")
    }

    /// Each element has about five roundings, and those of the factors.
    fn tolerance(&self, _: &Case) -> f64 {
        sum_tolerance(4)
    }

    /// The step reads four values and writes three. A bench also pays for the copies, which are not counted.
    fn cost(&self, case: &Case, _: DType) -> (Cost, Cost) {
        let n = case.get("n") as f64;
        (Cost { bytes: 28.0 * n, flop: 14.0 * n, ..Cost::default() }, Cost::default())
    }

    /// It has no backward pass.
    fn kept(&self, _: &Case, _: &Asked) -> Vec<usize> {
        vec![]
    }

    fn training(&self) -> Vec<Axis> {
        vec![Axis::new("n", [1 << 15, 1 << 16, 1 << 17], TRAINED)]
    }
}
