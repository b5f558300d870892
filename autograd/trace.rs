//! Traces: the calls of a computation written down, so that it can be said in another language.

use engine::Tensor;

use crate::tape::Var;

/// What a call is beside its inputs: rows, strides and the like, by name.
pub type Settings = Vec<(&'static str, Vec<f64>)>;

/// A call that a tracing tape wrote down. Its values are positions in [`Trace::values`].
pub struct Traced {
    /// The name of the op.
    pub op: &'static str,
    /// What it is beside its inputs.
    pub settings: Settings,
    /// The inputs; `None` for one that the call does without.
    pub inputs: Vec<Option<usize>>,
    /// The outputs.
    pub outputs: Vec<usize>,
}

/// A value in a trace.
pub struct Value {
    /// Its shape.
    pub shape: Vec<usize>,
    /// The tensor of a value that no call computed; one that was computed is not kept.
    pub given: Option<Tensor>,
}

/// What a tracing tape wrote down.
#[derive(Default)]
pub struct Trace {
    /// All values: what was given, and what was computed.
    pub values: Vec<Value>,
    /// The calls in their order.
    pub calls: Vec<Traced>,
}

impl Trace {
    /// Writes a call down, and returns the positions of its outputs.
    pub(crate) fn call(
        &mut self,
        op: &'static str,
        settings: Settings,
        inputs: &[&Var],
        outputs: &[Tensor],
    ) -> Vec<usize> {
        let inputs = inputs.iter().map(|input| self.position(input)).collect();
        let first = self.values.len();
        self.values
            .extend(outputs.iter().map(|output| Value { shape: output.shape().to_vec(), given: None }));
        let outputs: Vec<usize> = (first..self.values.len()).collect();
        self.calls.push(Traced { op, settings, inputs, outputs: outputs.clone() });
        outputs
    }

    /// The position of an input. An empty tensor stands for an input that is absent.
    fn position(&mut self, input: &Var) -> Option<usize> {
        if input.traced().is_some() {
            return input.traced();
        }
        let tensor = input.value();
        if tensor.numel() == 0 {
            return None;
        }
        let known = self.values.iter().position(|v| v.given.as_ref().is_some_and(|v| v.is_clone_of(tensor)));
        Some(known.unwrap_or_else(|| {
            self.values.push(Value { shape: tensor.shape().to_vec(), given: Some(tensor.clone()) });
            self.values.len() - 1
        }))
    }
}
