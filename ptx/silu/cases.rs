//! Cases of SiLU.

use autograd::{Tape, Var};
use engine::{DType, Result};

use super::reference::{silu, silu_grad};
use crate::spec::{Case, Cost, Draw, Input, Op, Values};

pub struct Silu;

impl Op for Silu {
    fn name(&self) -> &'static str {
        "silu"
    }

    fn formula(&self) -> &'static str {
        "y = x / (1 + e⁻ˣ)"
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases: Vec<Case> = [1, 5, 197, 785 * 33].iter().map(|&n| Case::new(&[("n", n)])).collect();
        cases.push(Case::bench(&[("n", 8 * 197 * 384)]));
        cases
    }

    fn inputs(&self, case: &Case) -> Vec<Input> {
        vec![Input::new("x", &[case.get("n")], Draw::Normal(0.0, 4.0), true).typed()]
    }

    fn forward(&self, _: &Case, tape: &Tape, inputs: &[Var]) -> Result<Vec<Var>> {
        Ok(vec![super::silu(tape, &inputs[0])?])
    }

    fn reference(&self, _: &Case, inputs: &[Vec<f64>]) -> Values {
        vec![inputs[0].iter().map(|&x| silu(x)).collect()]
    }

    fn reference_grad(&self, _: &Case, inputs: &[Vec<f64>], grads: &[Vec<f64>]) -> Values {
        vec![inputs[0].iter().zip(&grads[0]).map(|(&x, dy)| dy * silu_grad(x)).collect()]
    }

    /// Ten roundings, and the polynomial of 2^x (3e-7).
    fn tolerance(&self, _: &Case) -> f64 {
        2e-6
    }

    fn cost(&self, case: &Case, dtype: DType) -> (Cost, Cost) {
        let typed = dtype.size() as f64;
        let n = case.get("n") as f64;
        (
            Cost { bytes: 2.0 * typed * n, flop: 4.0 * n, exp: n },
            Cost { bytes: 3.0 * typed * n, flop: 8.0 * n, exp: n },
        )
    }
}
