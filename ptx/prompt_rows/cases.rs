//! Cases of prompt rows.

use autograd::{Noted, Tape, Var};
use engine::{DType, Result, Tensor};
use onnx::Graph;

use super::{Dropout, Prompts, dropout_keys, reference};
use crate::export::{Call, Written};
use crate::spec::{Asked, Axis, Case, Cost, Input, Op, Values, sum_tolerance};

/// `n` prompts, entry `entry` of `k`, at rows `first`, `first + step`, ... of the result: between the `l` rows of x
/// (`insert`), in their place (`replace`), or zeros in their place (`zeros`).
pub(crate) struct Cases;

const RATE: f32 = 0.3;
const STREAM: u32 = 7;

fn rows(case: &Case) -> Vec<usize> {
    (0..case.get("n")).map(|j| case.get("first") + j * case.get("step")).collect()
}

/// Keys of the samples 5, 6, ...
fn keys(case: &Case) -> Vec<f32> {
    let samples: Vec<u32> = (0..case.get("b")).map(|i| 5 + i as u32).collect();
    dropout_keys(3, 2, &samples, 1)
}

/// Rows of the result.
fn length(case: &Case) -> usize {
    case.get("l") + if case.is("insert") { case.get("n") } else { 0 }
}

impl Op for Cases {
    fn name(&self) -> &'static str {
        "prompt_rows"
    }

    fn formula(&self) -> &'static str {
        "y[:, rows] = keep·prompt; elsewhere y = x"
    }

    fn cases(&self) -> Vec<Case> {
        let case = |kind, [b, l, n, d, k, entry, first, step, dropout]: [usize; 9]| {
            [
                ("b", b),
                ("l", l),
                ("n", n),
                ("d", d),
                ("k", k),
                ("entry", entry),
                ("first", first),
                ("step", step),
                ("dropout", dropout),
                (kind, 1),
            ]
        };
        let insert = [
            [1, 1, 1, 5, 1, 0, 0, 1, 0],      // before the only row
            [1, 1, 1, 5, 1, 0, 1, 1, 1],      // after it
            [2, 5, 3, 7, 3, 1, 0, 1, 1],      // the first rows
            [3, 5, 2, 16, 2, 1, 5, 1, 0],     // the last rows
            [2, 9, 4, 33, 4, 2, 1, 3, 1],     // apart
            [3, 5, 3, 12, 3, 1, 1, 2, 1],     // whole runs in f32, not in bf16
            [35, 2, 1, 40, 2, 0, 1, 1, 1],    // more samples than a block's warps
            [1, 197, 10, 24, 3, 2, 99, 1, 1], // behind the class token in the middle
            [1, 785, 2, 5, 1, 0, 392, 1, 0],
        ];
        let replace = [
            [1, 1, 1, 5, 1, 0, 0, 1, 1], // all there is
            [2, 6, 2, 7, 3, 1, 4, 1, 0], // the last rows
            [2, 9, 3, 16, 2, 1, 0, 4, 1],
            [1, 207, 10, 33, 3, 1, 99, 1, 1],
        ];
        let zeros =
            [[1, 1, 1, 5, 0, 0, 0, 1, 0], [3, 7, 2, 8, 0, 0, 1, 3, 0], [1, 207, 10, 33, 0, 0, 99, 1, 0]];
        let kinds = [("insert", &insert[..]), ("replace", &replace), ("zeros", &zeros)];
        let small = kinds.into_iter().flat_map(|(kind, all)| all.iter().map(move |&sizes| (kind, sizes)));
        let mut cases: Vec<Case> = small.map(|(kind, sizes)| Case::new(&case(kind, sizes))).collect();
        cases.push(Case::bench(&case("insert", [8, 197, 10, 384, 24, 12, 99, 1, 1])));
        cases
    }

    fn inputs(&self, case: &Case) -> Vec<Input> {
        let [b, l, n, d, k] = ["b", "l", "n", "d", "k"].map(|name| case.get(name));
        let mut inputs = vec![Input::normal("x", &[b, l, d], true).typed()];
        if !case.is("zeros") {
            inputs.push(Input::normal("prompts", &[k, n, d], true));
        }
        inputs
    }

    fn forward(&self, case: &Case, tape: &Tape, inputs: &[Var]) -> Result<Vec<Var>> {
        let keys = Tensor::from_slice(tape.device(), &keys(case), &[case.get("b"), 2]);
        let dropout = case.is("dropout").then_some(Dropout { keys: &keys, rate: RATE, stream: STREAM });
        let prompts = inputs.get(1).map(|values| Prompts { values, entry: case.get("entry"), dropout });
        Ok(vec![match (&prompts, case.is("insert")) {
            (Some(prompts), true) => super::insert(tape, &inputs[0], prompts, &rows(case))?,
            _ => super::replace(tape, &inputs[0], prompts.as_ref(), &rows(case))?,
        }])
    }

    fn reference(&self, case: &Case, x: &[Vec<f64>]) -> Values {
        let size = case.get("n") * case.get("d");
        let none = vec![0.0; size];
        let prompt = x.get(1).map_or(&none[..], |all| &all[case.get("entry") * size..][..size]);
        vec![reference(case, &rows(case)).forward(&x[0], prompt)]
    }

    fn reference_grad(&self, case: &Case, x: &[Vec<f64>], grads: &[Vec<f64>]) -> Values {
        let [dx, dprompt] = reference(case, &rows(case)).backward(&grads[0]);
        let mut all = vec![dx];
        if let Some(prompts) = x.get(1) {
            let mut entries = vec![0.0; prompts.len()];
            entries[case.get("entry") * dprompt.len()..][..dprompt.len()].copy_from_slice(&dprompt);
            all.push(entries);
        }
        all
    }

    /// Copies are exact but for a factor and the sum of two calls; prompts' gradients are sums over the samples.
    fn tolerance(&self, case: &Case) -> f64 {
        sum_tolerance(case.get("b"))
    }

    fn cost(&self, case: &Case, dtype: DType) -> (Cost, Cost) {
        let typed = dtype.size() as f64;
        let [b, l, n, d] = ["b", "l", "n", "d"].map(|name| case.get(name) as f64);
        let prompts = if case.is("zeros") { 0.0 } else { n };
        // Rows of x that reach the result.
        let rest = length(case) as f64 - n;
        let bytes = |rows: f64| typed * b * d * rows + 4.0 * prompts * d;
        (
            Cost { bytes: bytes(rest + rest + n), flop: b * prompts * d, ..Cost::default() },
            Cost { bytes: bytes(rest + l + prompts), flop: 2.0 * b * prompts * d, ..Cost::default() },
        )
    }

    fn onnx(&self, graph: &mut Graph, call: &Call) -> Written {
        Ok(super::onnx::write(graph, call))
    }

    fn noted(&self, call: &Noted) -> Option<Case> {
        let (&[b, l, d], &[_, length, _]) = (&call.inputs[0].0[..], &call.outputs[0][..]) else {
            return None;
        };
        let n = call.inputs.get(1).map_or(0, |(prompts, _)| prompts[1]);
        let kind = match (length > l, call.inputs.len()) {
            (true, _) => "insert",
            (false, 1) => "zeros",
            (false, _) => "replace",
        };
        Some(Case::new(&[("b", b), ("l", l), ("n", n), ("d", d), (kind, 1)]))
    }

    /// On a launched device the maps of rows, a word each of the rows of y, of x and the prompts; with dropout the
    /// keys, where the prompts are trained. The inputs are not needed again.
    fn kept(&self, case: &Case, asked: &Asked) -> Vec<usize> {
        let mut kept = vec![];
        if asked.launched {
            kept.push(4 * (length(case) + case.get("l") + case.get("n")));
        }
        if case.is("dropout") && asked.wants("prompts") {
            kept.push(4 * 2 * case.get("b"));
        }
        kept
    }

    fn training(&self) -> Vec<Axis> {
        vec![Axis::images([1, 2, 3])]
    }
}

fn reference<'a>(case: &Case, rows: &'a [usize]) -> reference::PromptRows<'a, f64> {
    let [b, n, d] = ["b", "n", "d"].map(|name| case.get(name));
    let keep = match (case.is("zeros"), case.is("dropout")) {
        (true, _) => vec![0.0; b * n * d],
        (_, false) => vec![1.0; b * n * d],
        (_, true) => reference::keep(&keys(case), RATE, STREAM, n, d),
    };
    reference::PromptRows { b, l: length(case), d, rows, insert: case.is("insert"), keep }
}
