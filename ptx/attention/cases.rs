//! Cases of attention.

use autograd::{Noted, Tape, Var};
use engine::{DType, Result};
use onnx::Graph;

use super::{Settings, attention, reference};
use crate::export::{Call, Written};
use crate::spec::{Asked, Axis, Case, Cost, Draw, Input, Op, Values, WARP, sum_tolerance};

pub(crate) struct Cases;

/// Number of temperatures, and the one that a case uses.
const TEMPERATURES: usize = 3;
const ENTRY: usize = 1;

impl Cases {
    /// Positions of the extra rows and of the temperatures, where the case has them.
    fn at(case: &Case) -> [Option<usize>; 2] {
        let extra = case.is("n").then_some(1);
        [extra, case.is("temperature").then_some(1 + usize::from(extra.is_some()))]
    }

    /// The query row whose probabilities are asked for: one in the last tile.
    fn class_row(case: &Case) -> Option<usize> {
        case.is("probabilities").then(|| case.get("l") - 1)
    }

    fn reference<'a>(case: &Case, inputs: &'a [Vec<f64>]) -> reference::Attention<'a, f64> {
        let [extra, temperature] = Self::at(case);
        reference::Attention {
            l: case.get("l"),
            heads: case.get("heads"),
            c: case.get("c"),
            qkv: &inputs[0],
            extra: extra.map_or(&[], |at| &inputs[at]),
            temperature: temperature.map_or(1.0, |at| inputs[at][ENTRY]),
        }
    }
}

impl Op for Cases {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn formula(&self) -> &'static str {
        "out = softmax(q [extra; k]ᵀ / (√c·t)) [extra; v]"
    }

    /// Channels that fill 16 bytes in f32, in both types and in neither; rows that end within, at and behind a tile; heads
    /// of each kernel, as wide as it takes and narrower, and wider than any.
    fn cases(&self) -> Vec<Case> {
        let mut cases = vec![];
        for (b, l, heads, c) in [
            (1, 1, 1, 4),
            (2, 5, 3, 7),
            (3, 17, 2, 16),
            (1, 64, 2, 20),
            (1, 70, 1, 64),
            (2, 33, 1, 80),
            (1, 35, 1, 128),
        ] {
            for (n, temperature, probabilities) in [(0, 0, 0), (3, 0, 0), (0, 1, 1), (2, 1, 1), (2, 1, 0)] {
                cases.push(Case::new(&[
                    ("b", b),
                    ("l", l),
                    ("heads", heads),
                    ("c", c),
                    ("n", n),
                    ("temperature", temperature),
                    ("probabilities", probabilities),
                ]));
            }
        }
        // More extra rows than a tile has; rows of several blocks, in both passes; and what a GPU does not take.
        cases.push(Case::new(&[("b", 2), ("l", 3), ("heads", 2), ("c", 8), ("n", 37)]));
        cases.push(Case::new(&[("b", 1), ("l", 207), ("heads", 1), ("c", 32)]));
        cases.push(Case::new(&[("b", 1), ("l", 70), ("heads", 1), ("c", 72)]));
        cases.push(Case::new(&[("b", 1), ("l", 300), ("heads", 1), ("c", 40), ("n", 70)]));
        cases.push(Case::new(&[("b", 1), ("l", 130), ("heads", 1), ("c", 90), ("n", 1)]));
        cases.push(Case::new(&[("b", 1), ("l", 9), ("heads", 2), ("c", 129), ("n", 2), ("cpu_only", 1)]));
        // ViT-B at batch 8.
        cases.push(Case::bench(&[("b", 8), ("l", 197), ("heads", 12), ("c", 64)]));
        cases
    }

    fn inputs(&self, case: &Case) -> Vec<Input> {
        let [b, l, heads, c, n] = ["b", "l", "heads", "c", "n"].map(|size| case.get(size));
        // No gradient goes through probabilities.
        let trained = !case.is("probabilities");
        let mut inputs = vec![Input::normal("qkv", &[b, l, 3 * heads * c], trained).typed()];
        if n > 0 {
            inputs.push(Input::normal("extra", &[heads, n, c], trained));
        }
        if case.is("temperature") {
            inputs.push(Input::new("temperature", &[TEMPERATURES], Draw::Uniform(0.5, 2.0), trained));
        }
        inputs
    }

    fn forward(&self, case: &Case, tape: &Tape, inputs: &[Var]) -> Result<Vec<Var>> {
        let [extra, temperature] = Self::at(case);
        let settings = Settings {
            heads: case.get("heads"),
            extra: extra.map(|at| &inputs[at]),
            temperature: temperature.map(|at| (&inputs[at], ENTRY)),
            class_row: Self::class_row(case),
        };
        let attended = attention(tape, &inputs[0], settings)?;
        Ok([attended.out].into_iter().chain(attended.probabilities).collect())
    }

    fn reference(&self, case: &Case, inputs: &[Vec<f64>]) -> Values {
        let of = Self::reference(case, inputs);
        let probabilities = Self::class_row(case).map(|row| of.class_probabilities(row));
        [of.forward()].into_iter().chain(probabilities).collect()
    }

    fn reference_grad(&self, case: &Case, inputs: &[Vec<f64>], grads: &[Vec<f64>]) -> Values {
        let grads = Self::reference(case, inputs).backward(&grads[0]);
        let mut temperatures = vec![0.0; TEMPERATURES];
        temperatures[ENTRY] = grads.temperature;
        let [extra, temperature] = Self::at(case);
        let rest = [extra.map(|_| grads.extra), temperature.map(|_| temperatures)];
        [grads.qkv].into_iter().chain(rest.into_iter().flatten()).collect()
    }

    /// Powers are off by 3e-7 and by what their scores are off by.
    fn tolerance(&self, case: &Case) -> f64 {
        let keys = case.get("n") + case.get("l");
        1e-6 + sum_tolerance(case.get("c")) + sum_tolerance(keys.max(case.get("b") * case.get("l")))
    }

    fn cost(&self, case: &Case, dtype: DType) -> (Cost, Cost) {
        let [b, l, heads, c, n] = ["b", "l", "heads", "c", "n"].map(|size| case.get(size) as f64);
        let rows = b * l * heads * c * dtype.size() as f64;
        let scores = b * heads * l * (n + l);
        // Slots and passes of shared memory are those of the bench case for each channel of a score, forward and backward.
        // In f32 its last tiles are half empty; in bf16 tensor cores make the products.
        let (tensor_cores, [forward, backward]) = match dtype {
            DType::F32 => (0.0, [(4.4, 1.4), (14.5, 6.5)]),
            DType::Bf16 => (1.0, [(0.28, 0.062), (0.74, 0.21)]),
        };
        let of = |tensors: f64, products: f64, (slots, shared): (f64, f64)| Cost {
            bytes: tensors * rows,
            flop: 2.0 * products * scores * c,
            exp: scores,
            tensor: tensor_cores * 2.0 * products * scores * c,
            slots: slots * scores * c / WARP,
            shared: shared * scores * c / WARP,
        };
        // Forward has two products, backward five, among them the scores once more. It reads qkv, out and its gradient, and
        // writes the gradient of qkv. The kernels of the backward pass make scores and their gradients twice, which is no
        // part of the FLOP.
        (of(4.0, 2.0, forward), of(8.0, 5.0, backward))
    }

    fn onnx(&self, graph: &mut Graph, call: &Call) -> Written {
        super::onnx::write(graph, call)
    }

    /// The FLOP do not depend on the number of heads.
    fn noted(&self, call: &Noted) -> Option<Case> {
        let [(qkv, _), (extra, _), _] = &call.inputs[..] else { return None };
        let &[b, l, width] = &qkv[..] else { return None };
        let n = extra.get(1).copied().unwrap_or(0);
        Some(Case::new(&[("b", b), ("l", l), ("heads", 1), ("c", width / 3), ("n", n)]))
    }

    /// All inputs, the logarithms, and on a launched device out.
    fn kept(&self, case: &Case, asked: &Asked) -> Vec<usize> {
        if !asked.inputs.iter().any(|input| input.grad) {
            return vec![];
        }
        let [b, l, heads] = ["b", "l", "heads"].map(|size| case.get(size));
        let out = asked.bytes("qkv").filter(|_| asked.launched).map(|qkv| qkv / 3);
        asked.bytes_of_all().into_iter().chain([b * heads * l * DType::F32.size()]).chain(out).collect()
    }

    fn training(&self) -> Vec<Axis> {
        vec![Axis::images([1, 2, 3])]
    }
}
