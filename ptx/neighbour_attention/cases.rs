//! Cases of attention to neighbours.

use autograd::{Noted, Tape, Var};
use engine::{DType, Result};
use onnx::Graph;

use super::{neighbour_attention, reference};
use crate::export::{Call, Written};
use crate::spec::{Asked, Axis, Case, Cost, Input, Op, Values, WARP, sum_tolerance};

pub(crate) struct Cases;

impl Cases {
    fn reference<'a>(case: &Case, inputs: &'a [Vec<f64>]) -> reference::NeighbourAttention<'a, f64> {
        reference::NeighbourAttention {
            grid: case.get("grid"),
            heads: case.get("heads"),
            c: case.get("c"),
            queries: &inputs[0],
            keys: &inputs[1],
        }
    }
}

impl Op for Cases {
    fn name(&self) -> &'static str {
        "neighbour_attention"
    }

    fn formula(&self) -> &'static str {
        "out = softmax(q kᵀ / √c over the 3 × 3 patches around each) v; the class token's over all"
    }

    /// Grids without an inner patch, with one, and larger; channels that fill a warp's lanes once, not wholly, and of both
    /// kernels; and what a GPU does not take.
    fn cases(&self) -> Vec<Case> {
        let case = |[b, grid, heads, c]: [usize; 4]| [("b", b), ("grid", grid), ("heads", heads), ("c", c)];
        let sizes = [
            [1, 1, 1, 1],
            [2, 2, 3, 7],
            [3, 3, 2, 16],
            [2, 4, 1, 33],
            [1, 5, 2, 64],
            [1, 7, 1, 80],
            [2, 3, 1, 200],
        ];
        let mut cases: Vec<Case> = sizes.into_iter().map(|sizes| Case::new(&case(sizes))).collect();
        cases.push(Case::new(&[&case([1, 2, 1, 257])[..], &[("cpu_only", 1)]].concat()));
        // ViT-B at batch 8.
        cases.push(Case::bench(&case([8, 14, 12, 64])));
        cases
    }

    fn inputs(&self, case: &Case) -> Vec<Input> {
        let [b, grid, heads, c] = ["b", "grid", "heads", "c"].map(|size| case.get(size));
        let shape = [b, 1 + grid * grid, 3 * heads * c];
        ["queries", "keys"].map(|name| Input::normal(name, &shape, true).typed()).into()
    }

    fn forward(&self, case: &Case, tape: &Tape, inputs: &[Var]) -> Result<Vec<Var>> {
        Ok(vec![neighbour_attention(tape, &inputs[0], &inputs[1], case.get("heads"))?])
    }

    fn reference(&self, case: &Case, inputs: &[Vec<f64>]) -> Values {
        vec![Self::reference(case, inputs).forward()]
    }

    fn reference_grad(&self, case: &Case, inputs: &[Vec<f64>], grads: &[Vec<f64>]) -> Values {
        Self::reference(case, inputs).backward(&grads[0]).into()
    }

    /// Powers are off by 3e-7 and by what their scores are off by.
    fn tolerance(&self, case: &Case) -> f64 {
        let rows = 1 + case.get("grid").pow(2);
        1e-6 + sum_tolerance(case.get("c")) + sum_tolerance(rows)
    }

    fn cost(&self, case: &Case, dtype: DType) -> (Cost, Cost) {
        let [b, grid, heads, c] = ["b", "grid", "heads", "c"].map(|size| case.get(size) as f64);
        let l = 1.0 + grid * grid;
        let rows = b * l * heads * c * dtype.size() as f64;
        // The class token's, and for each side of the grid three neighbours of a patch but at both ends.
        let scores = b * heads * (l + (3.0 * grid - 2.0).powi(2));
        // Slots and shuffles are those of the bench case, counted by hand in the machine code of its loops, for each
        // channel of a score.
        let of = |tensors: f64, products: f64, slots: f64, shared: f64| Cost {
            bytes: tensors * rows,
            flop: 2.0 * products * scores * c,
            exp: scores,
            slots: slots * scores * c / WARP,
            shared: shared * scores * c / WARP,
            ..Cost::default()
        };
        // Forward has two products, backward five, among them the scores once more. It reads three thirds, out and its
        // gradient, and writes three thirds.
        (of(4.0, 2.0, 35.0, 2.5), of(8.0, 5.0, 100.0, 10.5))
    }

    fn onnx(&self, graph: &mut Graph, call: &Call) -> Written {
        super::onnx::write(graph, call)
    }

    /// The FLOP do not depend on the number of heads.
    fn noted(&self, call: &Noted) -> Option<Case> {
        let [(queries, _), _] = &call.inputs[..] else { return None };
        let &[b, l, width] = &queries[..] else { return None };
        Some(Case::new(&[("b", b), ("grid", (l - 1).isqrt()), ("heads", 1), ("c", width / 3)]))
    }

    /// Both inputs, and on a launched device the logarithms and out.
    fn kept(&self, case: &Case, asked: &Asked) -> Vec<usize> {
        if !asked.inputs.iter().any(|input| input.grad) {
            return vec![];
        }
        let [b, grid, heads] = ["b", "grid", "heads"].map(|size| case.get(size));
        let logs = b * heads * (1 + grid * grid) * DType::F32.size();
        let out = asked.bytes("queries").map(|bytes| bytes / 3);
        let launched = [Some(logs), out].into_iter().flatten().filter(|_| asked.launched);
        asked.bytes_of_all().into_iter().chain(launched).collect()
    }

    fn training(&self) -> Vec<Axis> {
        vec![Axis::images([1, 2, 3])]
    }
}
