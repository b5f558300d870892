//! Calls that a tape traced, as nodes of an ONNX graph. Each op writes its own ([`Op::onnx`](crate::spec::Op::onnx)).

use autograd::{Trace, Traced};
use onnx::{Graph, Name};

use crate::registry;

/// The names of a call's outputs, or the reason why it cannot be written.
pub type Written = Result<Vec<Name>, &'static str>;

/// A call that is to be written.
pub struct Call<'a> {
    trace: &'a Trace,
    traced: &'a Traced,
    /// The names of the trace's values so far.
    names: &'a [Option<Name>],
    /// Which of them are the same for all images.
    fixed: &'a [bool],
}

impl<'a> Call<'a> {
    /// The name of an input; `None` where the call does without it.
    pub fn given(&self, input: usize) -> Option<Name> {
        let position = (*self.traced.inputs.get(input)?)?;
        Some(self.names[position].clone().expect("what a call reads was given or computed before it"))
    }

    /// The name of an input that every call has.
    pub fn input(&self, input: usize) -> Name {
        self.given(input).expect("an input that every call has")
    }

    /// Number of inputs, those that the call does without among them.
    pub fn inputs(&self) -> usize {
        self.traced.inputs.len()
    }

    /// The shape of an input that every call has. The first axis of what depends on the images has length 1 here and any
    /// in the graph.
    pub fn shape(&self, input: usize) -> &'a [usize] {
        &self.trace.values[self.traced.inputs[input].expect("an input that every call has")].shape
    }

    /// Whether an input that every call has is the same for all images.
    fn is_fixed(&self, input: usize) -> bool {
        self.fixed[self.traced.inputs[input].expect("an input that every call has")]
    }

    /// The shape of the first output.
    pub fn output(&self) -> &'a [usize] {
        &self.trace.values[self.traced.outputs[0]].shape
    }

    /// The values of an input that no call computed.
    pub fn values(&self, input: usize) -> Option<&'a [f32]> {
        let position = (*self.traced.inputs.get(input)?)?;
        Some(self.trace.values[position].given.as_ref()?.as_slice())
    }

    /// The numbers that the op has recorded under a name.
    pub fn numbers(&self, setting: &str) -> &'a [f64] {
        let found = self.traced.settings.iter().find(|(name, _)| *name == setting);
        &found.expect("a setting that the op records").1
    }

    /// The same as whole numbers.
    pub fn counts(&self, setting: &str) -> Vec<usize> {
        self.numbers(setting).iter().map(|&number| number as usize).collect()
    }
}

/// Writes all calls of a trace of one image, value number `image`, and completes `names`, which has those of the given
/// values, by those of what is computed.
///
/// # Errors
/// A call that cannot be written: the op and the reason.
pub fn write<'a>(
    graph: &mut Graph<'a>,
    trace: &'a Trace,
    names: &mut [Option<Name>],
    image: usize,
) -> Result<(), (&'static str, &'static str)> {
    let ops = registry::all();
    let mut fixed: Vec<bool> = (0..names.len()).map(|value| value != image).collect();
    for traced in &trace.calls {
        let of_images = traced.inputs.iter().flatten().any(|&input| !fixed[input]);
        traced.outputs.iter().for_each(|&output| fixed[output] = !of_images);
        let call = Call { trace, traced, names, fixed: &fixed };
        let outputs = match ops.iter().find(|op| op.name() == traced.op) {
            Some(op) => op.onnx(graph, &call),
            None if traced.op == "reshape" => reshape(graph, &call),
            None => Err("no ONNX operator is known for it"),
        };
        let outputs = outputs.map_err(|why| (traced.op, why))?;
        for (&position, name) in traced.outputs.iter().zip(outputs) {
            names[position] = Some(name);
        }
    }
    Ok(())
}

/// The tape's own call that gives values another shape.
fn reshape(graph: &mut Graph, call: &Call) -> Written {
    if call.is_fixed(0) {
        let shape: Vec<i64> = call.output().iter().map(|&length| length as i64).collect();
        return Ok(vec![graph.reshape(&call.input(0), &shape)]);
    }
    let &[1, ref rest @ ..] = call.output() else { return Err("its images are not along the first axis") };
    let shape: Vec<i64> = [0].into_iter().chain(rest.iter().map(|&length| length as i64)).collect();
    Ok(vec![graph.reshape(&call.input(0), &shape)])
}
