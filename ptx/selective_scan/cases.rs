//! Cases of the scan.

use autograd::{Noted, Tape, Var};
use engine::cards::{CARDS, H100};
use engine::launch::Limits;
use engine::{DType, Result};
use onnx::Graph;

use super::call::{Dims, at};
use super::plan::Plan;
use super::reference::Scan as Reference;
use super::{Direction, cpu, launch, selective_scan};
use crate::export::{Call, Written};
use crate::scalar::{silu, silu_grad};
use crate::spec::{Asked, Axis, Case, Cost, Draw, Input, Op, TRAINING_TOKENS, Values, WARP, sum_tolerance};

pub(crate) struct Cases;

/// Of forward and backward, by update of a state: the most issue slots that `kernel_report` lets pass, and as many
/// passes through shared memory as take no longer.
const SLOTS: [f64; 2] = [9.0, 20.0];
const SHARED: [f64; 2] = [SLOTS[0] / 4.0, SLOTS[1] / 4.0];

/// Columns of x_dbl before B and C.
const RANK: usize = 3;

impl Op for Cases {
    fn name(&self) -> &'static str {
        "selective_scan"
    }

    fn formula(&self) -> &'static str {
        "out = (scan(u_f) + scan_reverse(u_b)) / 2 · silu(z)"
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = vec![];
        // With each state some case has more channels than a warp takes, so that its barriers matter. The last is so long
        // that y of a direction does not fit into a block's shared memory.
        let sizes = [
            (1, 1, 8, 16),
            (2, 5, 24, 8),
            (1, 35, 72, 8),
            (3, 37, 24, 32),
            (1, 197, 40, 16),
            (2, 64, 16, 64),
            (1, 401, 16, 16),
        ];
        for (b, l, e, n) in sizes {
            for frozen in [0, 1] {
                let sizes = [("b", b), ("l", l), ("e", e), ("n", n), ("r", RANK), ("frozen", frozen)];
                cases.push(Case::new(&sizes));
            }
        }
        // States and numbers of channels that only the CPU takes.
        for (b, l, e, n) in [(1, 17, 33, 16), (1, 785, 7, 5), (2, 16, 300, 16)] {
            let sizes = [("b", b), ("l", l), ("e", e), ("n", n), ("r", RANK), ("cpu_only", 1)];
            cases.push(Case::new(&sizes));
        }
        // Prompts, with every state; the first has more channels than one block takes.
        for (b, l, e, n, frozen) in
            [(2, 16, 296, 16, 0), (1, 33, 24, 64, 1), (1, 35, 72, 8, 1), (2, 37, 24, 32, 0)]
        {
            let sizes = [("b", b), ("l", l), ("e", e), ("n", n), ("r", RANK), ("frozen", frozen)];
            cases.push(Case::new(&[&sizes[..], &[("prompts", 1)]].concat()));
        }
        // More images than an H100 has multiprocessors, so that forward does not take its narrow variant.
        for l in [3, 18] {
            let sizes = [("b", 133), ("l", l), ("e", 8), ("n", 16), ("r", RANK), ("frozen", 1)];
            cases.push(Case::new(&sizes));
        }
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

    /// On one multiprocessor, forward chooses blocks of three, two and one pairs of warps, and with n = 16 the same again in
    /// its narrow variant, and backward each size of its blocks. The longer sequence is that of VPT with 100 prompt rows.
    /// Cards differ in their shared memory alone, and those that launch a case alike are one.
    fn card_cases(&self) -> Vec<(Case, Vec<Limits>)> {
        const T: usize = TRAINING_TOKENS;
        let mut cards: Vec<Limits> = vec![];
        for (_, card) in CARDS {
            let card = Limits { multiprocessors: 1, ..card };
            if !cards.iter().any(|known| known.shared_per_multiprocessor == card.shared_per_multiprocessor) {
                cards.push(card);
            }
        }
        let mut cases = vec![];
        let forward: [(usize, &[usize]); 4] =
            [(8, &[184, 128, 24, 16]), (16, &[88, 64, 24, 16]), (32, &[40, 32, 16]), (64, &[])];
        for (n, forward) in forward {
            let warp = 512 / n;
            let backward = [5 * warp + 8, 3 * warp, warp + 8, 8];
            for e in backward.iter().chain(forward).copied() {
                let all = [(T, 1, 0), (T + 100, 1, 0), (T, 1, 1), (T, 0, 0), (T, 0, 1)];
                let runs = if backward.contains(&e) { &all[..] } else { &all[..2] };
                for &(l, frozen, prompts) in runs {
                    let sizes = [("b", 1), ("l", l), ("e", e), ("n", n), ("r", RANK), ("frozen", frozen)];
                    let case = Case::new(&[&sizes[..], &[("prompts", prompts)]].concat());
                    cases.push((case, cards.clone()));
                }
            }
        }
        // A whole H100 is filled as one multiprocessor is.
        for frozen in [0, 1] {
            let sizes = [("b", 70), ("l", 17), ("e", 96), ("n", 16), ("r", RANK), ("frozen", frozen)];
            cases.push((Case::new(&sizes), vec![H100]));
        }
        for (case, cards) in &mut cases {
            cut_apart(case, cards);
        }
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
        if case.is("prompts") {
            inputs.extend(["prompt_f", "prompt_b"].map(|name| Input::normal(name, &[b, l, e], true).typed()));
        }
        inputs
    }

    fn forward(&self, case: &Case, tape: &Tape, inputs: &[Var]) -> Result<Vec<Var>> {
        let direction = |dir: usize| Direction {
            u: &inputs[at::u(dir)],
            delta: &inputs[at::delta(dir)],
            x_dbl: &inputs[at::x_dbl(dir)],
            a_log: &inputs[at::a_log(dir)],
            d: &inputs[at::d(dir)],
            delta_bias: &inputs[at::delta_bias(dir)],
        };
        let prompts = case.is("prompts").then(|| [0, 1].map(|dir| &inputs[at::prompt(dir)]));
        Ok(vec![selective_scan(tape, &inputs[at::XZ], [0, 1].map(direction), prompts)?])
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
        let mut dxz = vec![0.0; inputs[at::XZ].len()];
        let (mut all, mut dprompts) = (vec![], vec![]);
        for dir in 0..2 {
            let (y, g) = (parts.scan(dir).forward(), parts.scan(dir).backward(&dy));
            for i in 0..dout.len() {
                dxz[i / e * 2 * e + e + i % e] += 0.5 * dout[i] * y[i] * silu_grad(parts.z(i));
            }
            let mut dx_dbl = vec![0.0; inputs[at::x_dbl(dir)].len()];
            for (row, to) in dx_dbl.chunks_exact_mut(r + 2 * n).enumerate() {
                to[r..r + n].copy_from_slice(&g.bt[row * n..(row + 1) * n]);
                to[r + n..].copy_from_slice(&g.ct[row * n..(row + 1) * n]);
            }
            if case.is("prompts") {
                dprompts.push(g.u.clone());
            }
            all.extend([g.u, g.delta, dx_dbl, g.a_log, g.d, g.delta_bias]);
        }
        [vec![dxz], all, dprompts].concat()
    }

    /// A decay has up to `l` factors, each with the error of 2^x (3e-7); sums go over batch, tokens and channels.
    fn tolerance(&self, case: &Case) -> f64 {
        4e-6 + sum_tolerance(case.get("l").max(case.get("e")) * case.get("b"))
    }

    fn cost(&self, case: &Case, dtype: DType) -> (Cost, Cost) {
        let typed = dtype.size() as f64;
        let (b, l, e, n) = (case.get("b"), case.get("l"), case.get("e"), case.get("n"));
        let (tokens, steps) = ((b * l * e) as f64, (2 * b * l * e * n) as f64);
        let bc = (2 * b * l * 2 * n) as f64;
        let prompts = if case.is("prompts") { 2.0 * tokens } else { 0.0 };
        (
            // u and delta of both directions, prompts, z and out; B and C.
            Cost {
                bytes: typed * (6.0 * tokens + prompts + bc),
                flop: 6.0 * steps,
                exp: steps + 3.0 * tokens,
                slots: SLOTS[0] * steps / WARP,
                shared: SHARED[0] * steps / WARP,
                ..Cost::default()
            },
            // These and dout; the gradients of u, delta and all of xz.
            Cost {
                bytes: typed * (12.0 * tokens + prompts + 2.0 * bc),
                flop: 22.0 * steps,
                exp: steps + 8.0 * tokens,
                slots: SLOTS[1] * steps / WARP,
                shared: SHARED[1] * steps / WARP,
                ..Cost::default()
            },
        )
    }

    fn onnx(&self, graph: &mut Graph, call: &Call) -> Written {
        Ok(super::onnx::write(graph, call))
    }

    fn noted(&self, call: &Noted) -> Option<Case> {
        let (&[b, l, _], &[e, n]) = (&call.inputs[at::XZ].0[..], &call.inputs[at::a_log(0)].0[..]) else {
            return None;
        };
        let prompts = usize::from(call.inputs.len() > at::prompt(0));
        Some(Case::new(&[("b", b), ("l", l), ("e", e), ("n", n), ("prompts", prompts)]))
    }

    /// All inputs, y, and the state before every chunk.
    fn kept(&self, case: &Case, asked: &Asked) -> Vec<usize> {
        let [b, l, e, n] = ["b", "l", "e", "n"].map(|name| case.get(name));
        let chunk = if asked.launched { launch::CHUNK } else { cpu::CHUNK };
        let states = 2 * b * l.div_ceil(chunk) * n * e * DType::F32.size();
        let y = b * l * e * asked.dtype.size();
        [vec![states, y], asked.bytes_of_all()].concat()
    }

    /// With 14 images blocks are as large as they get. The small numbers of tokens leave the same remainder in
    /// chunks of 16 as that of training.
    fn training(&self) -> Vec<Axis> {
        vec![Axis::images([0, 14, 15]), Axis::new("l", [21, 37, 53], TRAINING_TOKENS)]
    }
}

/// Keeps the cards that cut a case's launches in ways of their own; what others launch is the same to the byte. Cards
/// for which it has no block are left out.
fn cut_apart(case: &Case, cards: &mut Vec<Limits>) {
    let mut ways = vec![];
    cards.retain(|card| {
        let way = plans(case, card).map(|plans| plans.map(|plan| plan.block));
        let keep = way.is_some() && !ways.contains(&way);
        ways.push(way);
        keep
    });
}

/// The plans of a case on a card: forward and backward in f32, and in bf16; `None` where one of them has no block.
pub(super) fn plans(case: &Case, card: &Limits) -> Option<[Plan; 4]> {
    let [b, l, e, n, r] = ["b", "l", "e", "n", "r"].map(|size| case.get(size));
    let dims = Dims { b, l, e, n, r, prompts: case.is("prompts") };
    let [f32, bf16] = [DType::F32, DType::Bf16].map(|dtype| {
        let backward = Plan::backward(dims, dtype, !case.is("frozen"), card);
        Some([Plan::forward(dims, dtype, card).ok()?, backward.ok()?])
    });
    let ([forward, backward], [forward_bf16, backward_bf16]) = (f32?, bf16?);
    Some([forward, backward, forward_bf16, backward_bf16])
}

/// The inputs as the reference wants them, with prompts added and B and C split off.
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
        let prompted = |dir| match (&inputs[at::u(dir)], inputs.get(at::prompt(dir))) {
            (u, Some(prompt)) => u.iter().zip(prompt).map(|(u, p)| u + p).collect(),
            (u, None) => u.clone(),
        };
        let columns = |dir, first: usize| -> Vec<f64> {
            let x = &inputs[at::x_dbl(dir)];
            x.chunks_exact(r + 2 * n).flat_map(|row| row[first..first + n].to_vec()).collect()
        };
        Parts {
            l: case.get("l"),
            e: case.get("e"),
            n,
            inputs,
            u: [0, 1].map(prompted),
            bt: [0, 1].map(|dir| columns(dir, r)),
            ct: [0, 1].map(|dir| columns(dir, r + n)),
        }
    }

    fn z(&self, i: usize) -> f64 {
        self.inputs[at::XZ][i / self.e * 2 * self.e + self.e + i % self.e]
    }

    fn scan(&self, dir: usize) -> Reference<'_, f64> {
        Reference {
            l: self.l,
            e: self.e,
            n: self.n,
            reverse: dir == 1,
            u: &self.u[dir],
            delta: &self.inputs[at::delta(dir)],
            bt: &self.bt[dir],
            ct: &self.ct[dir],
            a_log: &self.inputs[at::a_log(dir)],
            d: &self.inputs[at::d(dir)],
            delta_bias: &self.inputs[at::delta_bias(dir)],
        }
    }
}
