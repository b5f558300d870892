//! The op as ONNX nodes: the walk of each direction is an operator `Scan`.

use onnx::Attribute::{self, Int, Ints};
use onnx::Size::{Any, Of};
use onnx::{Graph, Name};

use super::call::at;
use crate::export::Call;

/// `out [b l e]`
pub(super) fn write(graph: &mut Graph, call: &Call) -> Vec<Name> {
    let (xz, e) = (call.input(at::XZ), call.shape(at::u(0))[2]);
    let y = [0, 1].map(|dir| direction(graph, call, dir));
    let y = graph.add(&y[0], &y[1]);
    let half = graph.floats(&[], vec![0.5]);
    let y = graph.mul(&y, &half);
    let z = graph.slice(&xz, 2, e..2 * e);
    let gate = graph.silu(&z);
    vec![graph.mul(&y, &gate)]
}

/// `y [b l e]` of one direction, before average and gate.
fn direction(graph: &mut Graph, call: &Call, dir: usize) -> Name {
    let (&[e, n], width) = (call.shape(at::a_log(dir)), call.shape(at::x_dbl(dir))[2]) else {
        unreachable!("A_log has two axes")
    };
    let mut u = call.input(at::u(dir));
    if let Some(prompt) = call.given(at::prompt(dir)) {
        u = graph.add(&u, &prompt);
    }
    let delta = graph.add(&call.input(at::delta(dir)), &call.input(at::delta_bias(dir)));
    let delta = graph.each("Softplus", &delta);
    let a = graph.each("Exp", &call.input(at::a_log(dir)));
    let a = graph.each("Neg", &a);
    let taken = graph.mul(&delta, &u);
    let x_dbl = call.input(at::x_dbl(dir));
    let [b, c] = [width - 2 * n, width - n].map(|first| graph.slice(&x_dbl, 2, first..first + n));
    // What a token brings: delta' [b e 1], delta' u' [b e 1], B [b 1 n], C [b n 1].
    let tokens = [(&delta, 3), (&taken, 3), (&b, 2), (&c, 3)].map(|(x, axis)| graph.unsqueeze(x, axis));
    let state = graph.zeros_like(&u, &[e, n]);
    let [delta, taken, b, c] = &tokens;
    let every = |value: i64| Ints(vec![value; tokens.len()]);
    let attributes = vec![
        ("body", Attribute::Graph(step(graph, &a, [e, n]))),
        ("num_scan_inputs", Int(tokens.len() as i64)),
        ("scan_input_axes", every(1)),
        ("scan_input_directions", every(dir as i64)),
        ("scan_output_axes", Ints(vec![1])),
        ("scan_output_directions", Ints(vec![dir as i64])),
    ];
    let [_, y] = graph.node_of("Scan", &[&state, delta, taken, b, c], attributes);
    let y = graph.squeeze(&y, 3);
    let skip = graph.mul(&call.input(at::d(dir)), &u);
    graph.add(&y, &skip)
}

/// One token: `s = exp(delta' A) s + delta' u' B` and `y = s C`.
fn step<'a>(graph: &mut Graph<'a>, a: &Name, [e, n]: [usize; 2]) -> Graph<'a> {
    let mut body = graph.body("step");
    let (samples, channel, states) = (Any("N"), Of(e), Of(n));
    let state = body.input("state", &[samples, channel, states]);
    let [delta, taken] = ["delta", "taken"].map(|name| body.input(name, &[samples, channel, Of(1)]));
    let (b, c) = (body.input("B", &[samples, Of(1), states]), body.input("C", &[samples, states, Of(1)]));
    let decay = body.mul(&delta, a);
    let decay = body.each("Exp", &decay);
    let kept = body.mul(&decay, &state);
    let taken = body.mul(&taken, &b);
    let next = body.add(&kept, &taken);
    let y = body.matmul(&next, &c);
    body.output("next", &next, &[samples, channel, states]);
    body.output("y", &y, &[samples, channel, Of(1)]);
    body
}
