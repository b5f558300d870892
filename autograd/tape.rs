//! Variables, recorded calls, and the backward walk.

use std::cell::RefCell;
use std::sync::Arc;

use engine::{DType, Device, Error, Result, Tensor};

use crate::noted::{self, Noted};
use crate::saved::{Recipe, Saved};
use crate::sinks::{Arrived, Sinks};
use crate::trace::{Settings, Trace};

/// The gradient of one recorded call.
pub trait Function {
    /// Gets the gradient of each output (`None` where none arrived) and hands the gradients of those inputs that want one
    /// to `sinks`. Runs at most once.
    ///
    /// # Errors
    /// Those of the ops that it calls.
    fn backward(&self, grads: Vec<Option<Tensor>>, sinks: &mut Sinks) -> Result<()>;
}

/// A value on the tape.
#[derive(Clone)]
pub struct Var {
    value: Tensor,
    /// The number of the variable. Without one, no trained tensor reaches the value, and it gets no gradient.
    id: Option<usize>,
    /// How the value can be made again, with its position among the outputs.
    recipe: Option<(Arc<Recipe>, usize)>,
    /// The position in a trace of what a traced call computed.
    traced: Option<usize>,
}

impl Var {
    /// Makes a variable of a value that wants no gradient.
    pub fn constant(value: Tensor) -> Self {
        Var { value, id: None, recipe: None, traced: None }
    }

    /// The position in [`Trace::values`] of a value that a call on a tracing tape computed.
    pub fn traced(&self) -> Option<usize> {
        self.traced
    }

    /// The value.
    pub fn value(&self) -> &Tensor {
        &self.value
    }

    /// The value, taken out of the variable.
    pub fn into_value(self) -> Tensor {
        self.value
    }

    /// Takes the value out for a call that writes its output over it. The variable then stands for its gradient alone.
    pub fn take(&mut self) -> Tensor {
        self.recipe = None;
        std::mem::replace(&mut self.value, Tensor::from_vec(vec![], &[0]))
    }

    /// The shape of the value.
    pub fn shape(&self) -> &[usize] {
        self.value.shape()
    }

    /// True when a gradient of this value is needed, because a trained tensor reaches it.
    pub fn wants_grad(&self) -> bool {
        self.id.is_some()
    }

    /// What a function keeps for its backward pass: the value, or its recipe when it has one.
    pub fn save(&self) -> Saved {
        match &self.recipe {
            Some((recipe, index)) => Saved::Recomputed(recipe.clone(), *index),
            None => Saved::Value(self.value.clone()),
        }
    }
}

/// A recorded call.
struct Call {
    function: Box<dyn Function>,
    /// The variable of each input; none for inputs that want no gradient.
    inputs: Vec<Option<usize>>,
    /// The variable of each output.
    outputs: Vec<usize>,
    /// What is noted when its backward pass runs.
    note: Option<Noted>,
}

#[derive(Default)]
struct Calls {
    /// The calls in their order.
    calls: Vec<Call>,
    /// The number of variables so far.
    vars: usize,
    /// The part of the model that the next calls belong to.
    scope: String,
}

/// What was computed, in its order. A tape is made anew for every step.
pub struct Tape {
    device: Device,
    recorded: RefCell<Calls>,
    enabled: bool,
    check_finite: bool,
    trace: Option<RefCell<Trace>>,
}

impl Tape {
    /// Makes a tape that records what is computed on `device`.
    pub fn new(device: &Device) -> Self {
        let (device, recorded) = (device.clone(), RefCell::default());
        Tape { device, recorded, enabled: true, check_finite: false, trace: None }
    }

    /// Makes a tape that records nothing, for evaluation.
    pub fn inference(device: &Device) -> Self {
        Tape { enabled: false, ..Self::new(device) }
    }

    /// Makes a tape for evaluation that writes all calls down.
    pub fn tracing(device: &Device) -> Self {
        Tape { trace: Some(RefCell::default()), ..Self::inference(device) }
    }

    /// What a tracing tape wrote down; nothing for other tapes.
    pub fn into_trace(self) -> Trace {
        self.trace.map(RefCell::into_inner).unwrap_or_default()
    }

    /// Lets [`Tape::record`] refuse outputs that are not finite, with the scope and the op in the error.
    pub fn checking_finite(self) -> Self {
        Tape { check_finite: true, ..self }
    }

    /// The device on which the tape computes.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Whether it records calls for a backward pass, as in a training step.
    pub fn records(&self) -> bool {
        self.enabled
    }

    /// Names the part of the model that the next calls belong to, for messages.
    pub fn scope(&self, name: impl Into<String>) {
        if self.check_finite {
            self.recorded.borrow_mut().scope = name.into();
        }
    }

    /// Makes a variable of a trained value, whose gradient is in [`Gradients`] afterwards.
    pub fn leaf(&self, value: Tensor) -> Var {
        let id = self.enabled.then(|| self.recorded.borrow_mut().new_var());
        Var { id, ..Var::constant(value) }
    }

    /// Records a call of `op` and returns its outputs as variables. `function` is made, and so anything saved, only when an
    /// input wants a gradient.
    ///
    /// # Errors
    /// [`Error::NonFinite`] with [`Tape::checking_finite`].
    pub fn record(
        &self,
        op: &'static str,
        inputs: &[&Var],
        outputs: Vec<Tensor>,
        function: impl FnOnce() -> Box<dyn Function>,
    ) -> Result<Vec<Var>> {
        self.record_with(op, Settings::new, inputs, outputs, function)
    }

    /// [`Tape::record`] for a call that its inputs alone do not tell. `settings` says what else it is, and runs only on a
    /// tracing tape.
    ///
    /// # Errors
    /// Those of [`Tape::record`].
    pub fn record_with(
        &self,
        op: &'static str,
        settings: impl FnOnce() -> Settings,
        inputs: &[&Var],
        outputs: Vec<Tensor>,
        function: impl FnOnce() -> Box<dyn Function>,
    ) -> Result<Vec<Var>> {
        let mut recorded = self.recorded.borrow_mut();
        if self.check_finite {
            for output in &outputs {
                output.check_finite(&format!("{} {op}", recorded.scope))?;
            }
        }
        let note = noted::forward(op, inputs, &outputs);
        if let Some(trace) = &self.trace {
            let positions = trace.borrow_mut().call(op, settings(), inputs, &outputs);
            let var = |(value, position)| Var { traced: Some(position), ..Var::constant(value) };
            return Ok(outputs.into_iter().zip(positions).map(var).collect());
        }
        if !self.enabled || inputs.iter().all(|v| v.id.is_none()) {
            return Ok(outputs.into_iter().map(Var::constant).collect());
        }
        let ids: Vec<usize> = outputs.iter().map(|_| recorded.new_var()).collect();
        let inputs = inputs.iter().map(|v| v.id).collect();
        recorded.calls.push(Call { function: function(), inputs, outputs: ids.clone(), note });
        let var = |(value, id)| Var { id: Some(id), ..Var::constant(value) };
        Ok(outputs.into_iter().zip(ids).map(var).collect())
    }

    /// Records the cast of a value to another type; its gradient is cast back.
    ///
    /// # Errors
    /// Those of [`Tensor::cast`].
    pub fn cast(&self, x: &Var, dtype: DType) -> Result<Var> {
        let was = x.value.dtype();
        if was == dtype {
            return Ok(x.clone());
        }
        let y = x.value.cast(self.device(), dtype)?;
        Ok(self.record("cast", &[x], vec![y], || Box::new(Cast(was)))?.remove(0))
    }

    /// Records the same values under another shape; the gradient gets the shape back. Panics when the number of elements
    /// differs.
    ///
    /// # Errors
    /// Those of [`Tape::record`].
    pub fn reshape(&self, x: &Var, shape: &[usize]) -> Result<Var> {
        let y = x.value.clone().reshape(shape);
        Ok(self.record("reshape", &[x], vec![y], || Box::new(Reshape(x.shape().to_vec())))?.remove(0))
    }

    /// Lets the outputs of one call be made again in the backward pass instead of kept: functions that save them save the
    /// recipe.
    pub fn recomputed(&self, vars: Vec<Var>, recipe: impl FnOnce() -> Arc<Recipe>) -> Vec<Var> {
        if !self.enabled {
            return vars;
        }
        let recipe = recipe();
        let with = |(i, var)| Var { recipe: Some((recipe.clone(), i)), ..var };
        vars.into_iter().enumerate().map(with).collect()
    }

    /// Walks the calls backwards from `output`, whose gradient is `seed`, and releases what each saved.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when no trained tensor reaches `output`, and those of the functions.
    pub fn backward(self, output: &Var, seed: Tensor) -> Result<Gradients> {
        self.backward_onto(output, seed, Gradients::default())
    }

    /// [`Tape::backward`] that adds, in place, to the gradients of an earlier tape. Both tapes must have made the same
    /// leaves in the same order before any call.
    ///
    /// # Errors
    /// Those of [`Tape::backward`].
    pub fn backward_onto(self, output: &Var, seed: Tensor, earlier: Gradients) -> Result<Gradients> {
        let recorded = self.recorded.into_inner();
        let mut grads = earlier.grads;
        grads.resize(recorded.vars, None);
        let Some(id) = output.id else {
            let what = "no trained tensor reaches the output: nothing to differentiate".into();
            return Err(Error::Unsupported { op: "backward", what });
        };
        grads[id] = Some(seed);
        let mut arrived = Arrived::new(grads);
        for call in recorded.calls.into_iter().rev() {
            let outputs: Vec<_> = call.outputs.iter().map(|&id| arrived.take_whole(id)).collect();
            if outputs.iter().any(Option::is_some) {
                noted::backward(call.note);
                let mut sinks = Sinks::new(&mut arrived, &call.inputs, &self.device);
                call.function.backward(outputs, &mut sinks)?;
            }
        }
        Ok(Gradients { grads: arrived.into_whole() })
    }
}

/// The function of [`Tape::cast`], with the type of its input.
struct Cast(DType);

impl Function for Cast {
    fn backward(&self, mut grads: Vec<Option<Tensor>>, sinks: &mut Sinks) -> Result<()> {
        let (dy, device) = (grads.remove(0).expect("the only output"), sinks.device().clone());
        sinks.give(0, dy.cast(&device, self.0)?);
        Ok(())
    }
}

/// The function of [`Tape::reshape`], with the shape of its input.
struct Reshape(Vec<usize>);

impl Function for Reshape {
    fn backward(&self, mut grads: Vec<Option<Tensor>>, sinks: &mut Sinks) -> Result<()> {
        sinks.give(0, grads.remove(0).expect("the only output").reshape(&self.0));
        Ok(())
    }
}

impl Calls {
    /// Numbers a new variable.
    fn new_var(&mut self) -> usize {
        self.vars += 1;
        self.vars - 1
    }
}

/// The gradients of the leaves after a backward walk.
#[derive(Default)]
pub struct Gradients {
    grads: Vec<Option<Tensor>>,
}

impl Gradients {
    /// The gradient of a leaf; `None` when the output does not depend on it.
    pub fn get(&self, var: &Var) -> Option<&Tensor> {
        self.grads[var.id?].as_ref()
    }

    /// Gives every gradient memory of its own, so that adding to it later leaves it where it is.
    pub fn unshare(&mut self, device: &Device) {
        self.grads.iter_mut().flatten().for_each(|grad| grad.make_unique(device));
    }

    /// Takes the gradient of a leaf out; `None` when the output does not depend on it.
    pub fn take(&mut self, var: &Var) -> Option<Tensor> {
        self.grads[var.id?].take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sum;
    impl Function for Sum {
        fn backward(&self, mut grads: Vec<Option<Tensor>>, sinks: &mut Sinks) -> Result<()> {
            let dy = grads.remove(0).expect("one output");
            sinks.give(0, dy.clone());
            sinks.give(1, dy);
            Ok(())
        }
    }

    fn sum(tape: &Tape, a: &Var, b: &Var) -> Var {
        let mut y = a.value().to_owned_on(tape.device());
        y.add_assign(tape.device(), b.value());
        tape.record("sum", &[a, b], vec![y], || Box::new(Sum)).unwrap().remove(0)
    }

    fn one(v: f32) -> Tensor {
        Tensor::from_vec(vec![v], &[1])
    }

    #[test]
    fn shared_gradients_are_copied_before_they_are_added_to() {
        let tape = Tape::new(&Device::cpu());
        let (a, b) = (tape.leaf(one(1.0)), tape.leaf(one(2.0)));
        // In the backward pass of this sum, both inputs get the same storage.
        let c = sum(&tape, &a, &b);
        let d = sum(&tape, &c, &a);
        let mut grads = tape.backward(&d, one(1.0)).unwrap();
        assert_eq!(grads.take(&a).unwrap().as_slice(), [2.0]);
        assert_eq!(grads.take(&b).unwrap().as_slice(), [1.0]);
    }

    #[test]
    fn gradients_of_an_earlier_tape_are_added_to_in_place() {
        let device = Device::cpu();
        let step = |earlier, seed| {
            let tape = Tape::new(&device);
            let (a, b) = (tape.leaf(one(1.0)), tape.leaf(one(2.0)));
            let c = sum(&tape, &a, &b);
            let d = sum(&tape, &c, &a);
            (tape.backward_onto(&d, one(seed), earlier).unwrap(), a, b)
        };
        let (mut grads, a, b) = step(Gradients::default(), 1.0);
        grads.unshare(&device);
        let addresses = |grads: &Gradients| [&a, &b].map(|v| grads.get(v).unwrap().as_slice().as_ptr());
        for (seed, want) in [(3.0, [8.0, 4.0]), (-4.0, [0.0, 0.0]), (1.0, [2.0, 1.0])] {
            let before = addresses(&grads);
            grads = step(grads, seed).0;
            assert_eq!([&a, &b].map(|v| grads.get(v).unwrap().as_slice()[0]), want);
            assert_eq!(addresses(&grads), before);
        }
    }

    #[test]
    fn constants_and_inference_record_nothing() {
        let tape = Tape::new(&Device::cpu());
        let c = sum(&tape, &Var::constant(one(1.0)), &Var::constant(one(1.0)));
        assert!(!c.wants_grad() && tape.recorded.borrow().calls.is_empty());
        assert!(tape.backward(&c, one(1.0)).is_err());
        let tape = Tape::inference(&Device::cpu());
        let a = tape.leaf(one(1.0));
        assert!(!sum(&tape, &a, &a).wants_grad());
    }

    #[test]
    fn calls_are_noted_while_somebody_asks() {
        let device = Device::cpu();
        let step = || {
            let tape = Tape::new(&device);
            let (a, b) = (tape.leaf(one(1.0)), Var::constant(one(2.0)));
            let unused = sum(&tape, &b, &b);
            let y = sum(&tape, &a, &unused);
            sum(&tape, &a, &b);
            tape.backward(&y, one(1.0)).unwrap();
            sum(&Tape::inference(&device), &b, &b);
        };
        let ((), notes) = noted::noted(step);
        let wants =
            |note: &Noted| (note.inputs.iter().map(|input| input.1).collect::<Vec<_>>(), note.backward);
        let forward = [[false, false], [true, false], [true, false]].map(|wants| (wants.to_vec(), false));
        let last = [(vec![true, false], true), (vec![false, false], false)];
        assert_eq!(notes.iter().map(wants).collect::<Vec<_>>(), [&forward[..], &last].concat());
        assert!(
            notes.iter().all(|note| note.op == "sum" && note.outputs == [[1]] && note.inputs[1].0 == [1])
        );
        step();
        assert_eq!(noted::noted(|| ()).1, [], "nothing is noted when nobody asks");
    }

    #[test]
    fn a_tracing_tape_writes_down_who_reads_what() {
        let device = Device::cpu();
        let tape = Tape::tracing(&device);
        let (a, none) = (tape.leaf(one(2.0)), Var::constant(Tensor::from_vec(vec![], &[0])));
        let mut b = sum(&tape, &a, &Var::constant(a.value().clone()));
        b.take();
        let settings = || vec![("row", vec![3.0])];
        let c = tape.record_with("last", settings, &[&b, &none, &a], vec![one(0.0)], || Box::new(Sum));
        assert_eq!((c.unwrap()[0].traced(), a.wants_grad()), (Some(2), false));
        let Trace { values, calls } = tape.into_trace();
        // A clone of a given tensor is the same value, and one whose memory was taken is what it was.
        let given: Vec<_> = values.iter().map(|v| v.given.as_ref().map(|t| t.as_slice()[0])).collect();
        assert_eq!(given, [Some(2.0), None, None]);
        let inputs: Vec<_> = calls.iter().map(|call| &call.inputs[..]).collect();
        assert_eq!(inputs, [&[Some(0), Some(0)][..], &[Some(1), None, Some(0)]]);
        assert_eq!((calls[1].op, &calls[1].settings, &calls[1].outputs[..]), ("last", &settings(), &[2][..]));
    }

    #[test]
    fn a_checked_tape_names_the_first_bad_op() {
        let tape = Tape::inference(&Device::cpu()).checking_finite();
        tape.scope("layers.3");
        let bad = Var::constant(one(f32::NAN));
        let err = tape.record("sum", &[&bad], vec![one(f32::NAN)], || Box::new(Sum)).err().unwrap();
        assert!(err.to_string().starts_with("layers.3 sum: first non-finite"), "{err}");
    }
}
