//! One case of one op: its inputs, the reference's results for them, and a device's results.

use std::cell::RefCell;

use autograd::{Function, Sinks, Tape, Var};
use engine::{DType, Device, Result, Rng, Tensor};
use half::bf16;
use ptx::spec::{Case, Input, Op, Values};

/// A case with its random inputs, which are the same for every device, instruction set and run.
pub struct Problem<'a> {
    /// The op.
    pub op: &'a dyn Op,
    /// Its sizes and settings.
    pub case: Case,
    /// Shapes and types of its inputs, in the op's order.
    pub inputs: Vec<Input>,
    /// The type of typed inputs and of their gradients.
    dtype: DType,
    values: Vec<Vec<f32>>,
}

/// A small case of an op that every device takes: the smallest with more elements than a block, among those that ask
/// for gradients where there are any.
pub fn small_case(op: &dyn Op) -> Case {
    const ELEMENTS: usize = 2000;
    let everywhere = op.cases().into_iter().filter(|case| !case.bench && !case.cpu_only());
    let size = |case: &Case| {
        let inputs = op.inputs(case);
        let elements: usize = inputs.iter().map(|input| input.shape.iter().product::<usize>()).sum();
        (!inputs.iter().any(|input| input.grad), elements < ELEMENTS, elements.abs_diff(ELEMENTS))
    };
    everywhere.min_by_key(size).expect("an op has cases")
}

/// Which gradients of a call are asked for, and how.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    /// Train only this input, of those that the case asks for.
    pub input: Option<usize>,
    /// Send a gradient only to this output.
    pub output: Option<usize>,
    /// Number of calls that share the inputs and whose gradients add up.
    pub calls: usize,
}

impl Ask {
    /// Every gradient of one call.
    pub const ALL: Ask = Ask { input: None, output: None, calls: 1 };
}

/// Outputs with their shapes, and the gradients of the inputs.
pub struct Outcome {
    /// Shape and values of each output of the first call.
    pub outputs: Vec<(Vec<usize>, Vec<f32>)>,
    /// The gradient of each input; `None` where none was asked for, or none arrived.
    pub grads: Vec<Option<Vec<f32>>>,
}

impl<'a> Problem<'a> {
    /// A case with all inputs in f32.
    pub fn new(op: &'a dyn Op, case: Case) -> Self {
        Self::in_type(op, case, DType::F32)
    }

    /// A case with the same values, of which those of typed inputs are rounded once to `dtype` for every side.
    pub fn in_type(op: &'a dyn Op, case: Case, dtype: DType) -> Self {
        let inputs = op.inputs(&case);
        let seed = hash(&[op.name(), &case.name]);
        let draw = |(i, input): (usize, &Input)| {
            let values = input.values(&mut Rng::keyed(seed, 0, i as u32, 0));
            if input.typed { rounded(values, dtype) } else { values }
        };
        let values = inputs.iter().enumerate().map(draw).collect();
        Problem { op, case, inputs, dtype, values }
    }

    /// Name by which this case alone can be run again.
    pub fn name(&self) -> String {
        format!("{}:{}", self.op.name(), self.case.name)
    }

    /// The type of typed inputs and of their gradients.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Elements of all inputs.
    pub fn numel(&self) -> usize {
        self.values.iter().map(Vec::len).sum()
    }

    /// Whether some input of the case wants a gradient.
    pub fn asks_gradient(&self) -> bool {
        self.inputs.iter().any(|input| input.grad)
    }

    /// The inputs in f64.
    pub fn exact_inputs(&self) -> Values {
        self.values.iter().map(|values| exact(values)).collect()
    }

    /// The random gradient that arrives at output `index` of `n` elements.
    pub fn upstream(&self, index: usize, n: usize) -> Vec<f32> {
        let mut rng = Rng::keyed(hash(&[self.op.name(), &self.case.name]), 0, index as u32, 1);
        rounded((0..n).map(|_| rng.normal() as f32).collect(), self.dtype)
    }

    /// Largest error allowed by norm. In bf16 up to three roundings to 8 bits follow each other (a value that is
    /// recomputed, the result, the sum of two calls), each of at most 2^-9 of the value.
    pub fn tolerance(&self) -> f64 {
        let exact = self.op.tolerance(&self.case);
        match self.dtype {
            DType::F32 => exact,
            DType::Bf16 => exact + 3.0 / 512.0,
        }
    }

    /// The upstream gradients in the form that the reference takes, zero where none arrives.
    pub fn exact_upstream(&self, outputs: &Values, ask: Ask) -> Values {
        let arrives = |i| ask.output.is_none_or(|only| only == i);
        let of = |(i, y): (usize, &Vec<f64>)| match arrives(i) {
            true => exact(&self.upstream(i, y.len())),
            false => vec![0.0; y.len()],
        };
        outputs.iter().enumerate().map(of).collect()
    }

    /// The inputs on a device.
    pub fn tensors(&self, device: &Device) -> Result<Vec<Tensor>> {
        let on = |(input, values): (&Input, &Vec<f32>)| {
            let dtype = if input.typed { self.dtype } else { DType::F32 };
            Tensor::from_slice(device, values, &input.shape).cast(device, dtype)
        };
        self.inputs.iter().zip(&self.values).map(on).collect()
    }

    /// The inputs as variables, those whose gradient is asked for as leaves of the tape.
    pub fn variables(&self, tape: &Tape, tensors: Vec<Tensor>, ask: Ask) -> Vec<Var> {
        let trained = |i: usize| self.inputs[i].grad && ask.input.is_none_or(|only| only == i);
        let variable = |(i, tensor)| if trained(i) { tape.leaf(tensor) } else { Var::constant(tensor) };
        tensors.into_iter().enumerate().map(variable).collect()
    }

    /// A value whose backward pass sends `upstream[i]` to output i of each call.
    pub fn join(tape: &Tape, calls: &[Vec<Var>], upstream: &[Vec<f32>], ask: Ask) -> Result<Var> {
        let (mut joined, mut grads) = (vec![], vec![]);
        for (i, y) in calls.iter().flat_map(|outputs| outputs.iter().enumerate()) {
            if ask.output.is_none_or(|only| only == i) {
                let grad = Tensor::from_slice(tape.device(), &upstream[i], y.shape());
                grads.push(Some(grad.cast(tape.device(), y.value().dtype())?));
                joined.push(y);
            }
        }
        let end = vec![Tensor::zeros(tape.device(), &[1])];
        Ok(tape.record("upstream", &joined, end, || Box::new(Upstream(RefCell::new(grads))))?.remove(0))
    }

    /// Runs forward, and backward where a gradient is asked for.
    pub fn run(&self, device: &Device, ask: Ask) -> Result<Outcome> {
        let tape = Tape::new(device);
        let inputs = self.variables(&tape, self.tensors(device)?, ask);
        let calls = (0..ask.calls).map(|_| self.op.forward(&self.case, &tape, &inputs));
        let calls = calls.collect::<Result<Vec<_>>>()?;
        let mut grads = vec![None; inputs.len()];
        if inputs.iter().any(Var::wants_grad) {
            let sizes = calls[0].iter().map(|y| y.value().numel());
            let upstream: Vec<_> = sizes.enumerate().map(|(i, n)| self.upstream(i, n)).collect();
            let end = Self::join(&tape, &calls, &upstream, ask)?;
            let mut arrived = tape.backward(&end, Tensor::zeros(device, &[1]))?;
            let host = |var| arrived.take(var).map(|grad| grad.to_host()).transpose();
            grads = inputs.iter().map(host).collect::<Result<_>>()?;
        }
        for (input, (var, values)) in self.inputs.iter().zip(inputs.iter().zip(&self.values)) {
            assert!(&var.value().to_host()? == values, "input {} was written to", input.name);
        }
        let outputs = calls[0].iter().map(|y| Ok((y.shape().to_vec(), y.value().to_host()?)));
        Ok(Outcome { outputs: outputs.collect::<Result<_>>()?, grads })
    }
}

/// Sends each output its gradient, whole and unshared.
struct Upstream(RefCell<Vec<Option<Tensor>>>);

impl Function for Upstream {
    fn backward(&self, _: Vec<Option<Tensor>>, sinks: &mut Sinks) -> Result<()> {
        for (i, grad) in self.0.borrow_mut().iter_mut().enumerate() {
            sinks.give(i, grad.take().expect("runs once"));
        }
        Ok(())
    }
}

fn rounded(mut values: Vec<f32>, dtype: DType) -> Vec<f32> {
    if dtype == DType::Bf16 {
        values.iter_mut().for_each(|v| *v = bf16::from_f32(*v).to_f32());
    }
    values
}

fn exact(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

/// FNV-1a over the names.
fn hash(names: &[&str]) -> u64 {
    let bytes = names.iter().flat_map(|name| name.bytes());
    bytes.fold(0xCBF2_9CE4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01B3))
}
