//! Cases of the scan.

use autograd::{Tape, Var};
use engine::{DType, Result};

use super::reference::Scan as Reference;
use super::{Direction, selective_scan};
use crate::silu::reference::{silu, silu_grad};
use crate::spec::{Case, Cost, Draw, Input, Op, Values, sum_tolerance};

pub struct SelectiveScan;

const RANK: usize = 3;

impl Op for SelectiveScan {
    fn name(&self) -> &'static str {
        "selective_scan"
    }

    fn formula(&self) -> &'static str {
        "out = (scan(u_f) + scan_reverse(u_b)) / 2 · silu(z)"
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = vec![];
        // The last: y of a direction is more than a block's shared memory holds.
        let sizes = [
            (1, 1, 8, 16),
            (2, 5, 24, 8),
            (1, 35, 40, 8),
            (3, 37, 16, 32),
            (1, 197, 40, 16),
            (2, 64, 8, 64),
            (1, 401, 8, 16),
        ];
        for (b, l, e, n) in sizes {
            for frozen in [0, 1] {
                let sizes = [("b", b), ("l", l), ("e", e), ("n", n), ("r", RANK), ("frozen", frozen)];
                cases.push(Case::new(&sizes));
            }
        }
        // States and channels that only the CPU takes.
        for (b, l, e, n) in [(1, 17, 33, 16), (1, 785, 7, 5), (2, 16, 300, 16)] {
            let sizes = [("b", b), ("l", l), ("e", e), ("n", n), ("r", RANK), ("cpu_only", 1)];
            cases.push(Case::new(&sizes));
        }
        // More channels than one block takes, a state of 64, and the prompt operand.
        cases.push(Case::new(&[("b", 2), ("l", 16), ("e", 296), ("n", 16), ("r", RANK), ("prompt", 1)]));
        cases.push(Case::new(&[
            ("b", 1),
            ("l", 33),
            ("e", 24),
            ("n", 64),
            ("r", RANK),
            ("prompt", 1),
            ("frozen", 1),
        ]));
        // delta_bias alone is trained, beside the activations' gradients and without them.
        for (sizes, activations) in [([2, 37, 24, 16], 1), ([1, 70, 16, 8], 0)] {
            let [b, l, e, n] = sizes;
            let switches = [("frozen", 1), ("bias", 1), ("activations", activations)];
            let sizes = [("b", b), ("l", l), ("e", e), ("n", n), ("r", RANK)];
            cases.push(Case::new(&[&sizes[..], &switches].concat()));
        }
        cases.push(Case::bench(&[("b", 8), ("l", 197), ("e", 768), ("n", 16), ("r", 24), ("frozen", 1)]));
        cases
    }

    fn inputs(&self, case: &Case) -> Vec<Input> {
        let (b, l, e, n) = (case.get("b"), case.get("l"), case.get("e"), case.get("n"));
        let (trained, bias) = (!case.is("frozen"), case.is("bias"));
        let activations = !bias || case.is("activations");
        let mut inputs = vec![Input::normal("xz", &[b, l, 2 * e], activations).typed()];
        for names in [
            ["u_f", "delta_f", "x_dbl_f", "A_log_f", "D_f", "delta_bias_f"],
            ["u_b", "delta_b", "x_dbl_b", "A_log_b", "D_b", "delta_bias_b"],
        ] {
            inputs.push(Input::normal(names[0], &[b, l, e], activations).typed());
            inputs.push(Input::normal(names[1], &[b, l, e], activations).typed());
            inputs.push(Input::normal(names[2], &[b, l, case.get("r") + 2 * n], activations).typed());
            inputs.push(Input::new(names[3], &[e, n], Draw::Uniform(-1.0, 2.8), trained));
            inputs.push(Input::normal(names[4], &[e], trained));
            inputs.push(Input::new(names[5], &[e], Draw::Normal(-2.0, 1.5), trained || bias));
        }
        if case.is("prompt") {
            inputs.push(Input::normal("prompt", &[b, l, e], true).typed());
        }
        inputs
    }

    fn forward(&self, _: &Case, tape: &Tape, inputs: &[Var]) -> Result<Vec<Var>> {
        let direction = |at: usize| Direction {
            u: &inputs[at],
            delta: &inputs[at + 1],
            x_dbl: &inputs[at + 2],
            a_log: &inputs[at + 3],
            d: &inputs[at + 4],
            delta_bias: &inputs[at + 5],
        };
        Ok(vec![selective_scan(tape, &inputs[0], [direction(1), direction(7)], inputs.get(13))?])
    }

    fn reference(&self, case: &Case, inputs: &[Vec<f64>]) -> Values {
        let parts = Parts::new(case, inputs);
        let y = [parts.scan(0).forward(), parts.scan(1).forward()];
        let gate = |i: usize| silu(parts.z(i));
        vec![(0..y[0].len()).map(|i| 0.5 * (y[0][i] + y[1][i]) * gate(i)).collect()]
    }

    fn reference_grad(&self, case: &Case, inputs: &[Vec<f64>], grads: &[Vec<f64>]) -> Values {
        let parts = Parts::new(case, inputs);
        let (e, n, r) = (case.get("e"), case.get("n"), case.get("r"));
        let dout = &grads[0];
        let dy: Vec<f64> = (0..dout.len()).map(|i| 0.5 * dout[i] * silu(parts.z(i))).collect();
        let mut dxz = vec![0.0; inputs[0].len()];
        let mut dprompt = vec![0.0; dout.len()];
        let mut all = vec![];
        for dir in 0..2 {
            let (y, g) = (parts.scan(dir).forward(), parts.scan(dir).backward(&dy));
            for i in 0..dout.len() {
                dxz[i / e * 2 * e + e + i % e] += 0.5 * dout[i] * y[i] * silu_grad(parts.z(i));
                dprompt[i] += g.u[i];
            }
            let mut dx_dbl = vec![0.0; inputs[3].len()];
            for (row, to) in dx_dbl.chunks_exact_mut(r + 2 * n).enumerate() {
                to[r..r + n].copy_from_slice(&g.bt[row * n..(row + 1) * n]);
                to[r + n..].copy_from_slice(&g.ct[row * n..(row + 1) * n]);
            }
            all.extend([g.u, g.delta, dx_dbl, g.a_log, g.d, g.delta_bias]);
        }
        [vec![dxz], all, vec![dprompt]].concat()
    }

    /// A decay of up to `l` factors, each with the error of 2^x (3e-7), and sums over batch, tokens, channels.
    fn tolerance(&self, case: &Case) -> f64 {
        4e-6 + sum_tolerance(case.get("l").max(case.get("e")) * case.get("b"))
    }

    fn cost(&self, case: &Case, dtype: DType) -> (Cost, Cost) {
        let typed = dtype.size() as f64;
        let (b, l, e, n) = (case.get("b"), case.get("l"), case.get("e"), case.get("n"));
        let (tokens, steps) = ((b * l * e) as f64, (2 * b * l * e * n) as f64);
        let bc = (2 * b * l * 2 * n) as f64;
        (
            // u and delta of both directions, z, out; B and C.
            Cost { bytes: typed * (6.0 * tokens + bc), flop: 6.0 * steps, exp: steps + 3.0 * tokens },
            // These and dout; gradients of u, delta and all of xz.
            Cost { bytes: typed * (12.0 * tokens + 2.0 * bc), flop: 22.0 * steps, exp: steps + 8.0 * tokens },
        )
    }
}

/// Inputs as the reference wants them: prompts added, B and C split off.
struct Parts<'a> {
    l: usize,
    e: usize,
    n: usize,
    inputs: &'a [Vec<f64>],
    u: [Vec<f64>; 2],
    bt: [Vec<f64>; 2],
    ct: [Vec<f64>; 2],
}

impl<'a> Parts<'a> {
    fn new(case: &Case, inputs: &'a [Vec<f64>]) -> Self {
        let (n, r) = (case.get("n"), case.get("r"));
        let prompted = |u: &Vec<f64>| match inputs.get(13) {
            Some(p) => u.iter().zip(p).map(|(u, p)| u + p).collect(),
            None => u.clone(),
        };
        let columns = |x: &Vec<f64>, first: usize| -> Vec<f64> {
            x.chunks_exact(r + 2 * n).flat_map(|row| row[first..first + n].to_vec()).collect()
        };
        Parts {
            l: case.get("l"),
            e: case.get("e"),
            n,
            inputs,
            u: [prompted(&inputs[1]), prompted(&inputs[7])],
            bt: [columns(&inputs[3], r), columns(&inputs[9], r)],
            ct: [columns(&inputs[3], r + n), columns(&inputs[9], r + n)],
        }
    }

    fn z(&self, i: usize) -> f64 {
        self.inputs[0][i / self.e * 2 * self.e + self.e + i % self.e]
    }

    fn scan(&self, dir: usize) -> Reference<'_, f64> {
        let at = 1 + 6 * dir;
        Reference {
            l: self.l,
            e: self.e,
            n: self.n,
            reverse: dir == 1,
            u: &self.u[dir],
            delta: &self.inputs[at + 1],
            bt: &self.bt[dir],
            ct: &self.ct[dir],
            a_log: &self.inputs[at + 3],
            d: &self.inputs[at + 4],
            delta_bias: &self.inputs[at + 5],
        }
    }
}
