//! The op as ONNX nodes.

use onnx::{Graph, Name};

use crate::export::Call;

/// `insert` or `replace`, without dropout: the rows of x and the prompts, one after the other, and of those the rows of
/// y.
pub(super) fn write(graph: &mut Graph, call: &Call) -> Vec<Name> {
    let &[_, l, d] = call.shape(0) else { unreachable!("sequences have three axes") };
    let (x, rows, of_y) = (call.input(0), call.counts("rows"), call.output()[1]);
    let prompts = match call.given(1) {
        None => graph.zeros_like(&x, &[rows.len(), d]),
        Some(prompts) => {
            let entry = call.counts("entry")[0];
            let prompts = graph.slice(&prompts, 0, entry..entry + 1);
            graph.for_each_sample(&prompts, &x)
        }
    };
    let all = graph.concat(&[&x, &prompts], 1);
    let source = |row: usize| match rows.binary_search(&row) {
        Ok(prompt) => l + prompt,
        Err(before) if of_y > l => row - before,
        Err(_) => row,
    };
    let sources: Vec<i64> = (0..of_y).map(|row| source(row) as i64).collect();
    vec![graph.gather(&all, 1, &sources)]
}
