//! What an op tells tests and benches about itself.

use autograd::{Tape, Var};
use engine::{DType, Result, Rng};

/// One setting of one op: named sizes and switches. Knows no device.
#[derive(Debug, Clone)]
pub struct Case {
    /// Shown in reports and used to rerun one case.
    pub name: String,
    sizes: Vec<(&'static str, usize)>,
    /// Vim-S at its training shapes: timed by the benches, too large for the f64 gradient check.
    pub bench: bool,
}

impl Case {
    /// A case named by its sizes; a switch is a size of 0 or 1.
    pub fn new(sizes: &[(&'static str, usize)]) -> Self {
        let name = sizes.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(",");
        Case { name, sizes: sizes.to_vec(), bench: false }
    }

    /// A case of the benches.
    pub fn bench(sizes: &[(&'static str, usize)]) -> Self {
        Case { bench: true, ..Self::new(sizes) }
    }

    /// The size of this name; absent sizes are 0.
    pub fn get(&self, name: &str) -> usize {
        self.sizes.iter().find(|(k, _)| *k == name).map_or(0, |(_, v)| *v)
    }

    /// The same case with another size.
    pub fn with(&self, name: &'static str, size: usize) -> Self {
        let mut sizes = self.sizes.clone();
        match sizes.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = size,
            None => sizes.push((name, size)),
        }
        Case { bench: self.bench, ..Self::new(&sizes) }
    }

    pub fn is(&self, name: &str) -> bool {
        self.get(name) != 0
    }

    /// Sizes that launched devices must refuse, with [`engine::Error::Unsupported`].
    pub fn cpu_only(&self) -> bool {
        self.is("cpu_only")
    }
}

/// How the random values of an input are drawn.
#[derive(Debug, Clone, Copy)]
pub enum Draw {
    /// Normal with this mean and standard deviation.
    Normal(f64, f64),
    /// Uniform in this range.
    Uniform(f64, f64),
}

/// One input of an op in one case.
#[derive(Debug, Clone)]
pub struct Input {
    pub name: &'static str,
    pub shape: Vec<usize>,
    pub draw: Draw,
    /// Whether the case asks for its gradient.
    pub grad: bool,
    /// Comes in the type of the activations; what is not typed is f32 on every device.
    pub typed: bool,
}

impl Input {
    pub fn new(name: &'static str, shape: &[usize], draw: Draw, grad: bool) -> Self {
        Input { name, shape: shape.to_vec(), draw, grad, typed: false }
    }

    /// Standard normal values.
    pub fn normal(name: &'static str, shape: &[usize], grad: bool) -> Self {
        Self::new(name, shape, Draw::Normal(0.0, 1.0), grad)
    }

    /// The same input in the type of the activations.
    pub fn typed(self) -> Self {
        Input { typed: true, ..self }
    }

    /// The values of this input, rounded to f32 once for every device and the reference.
    pub fn values(&self, rng: &mut Rng) -> Vec<f32> {
        let draw = |rng: &mut Rng| match self.draw {
            Draw::Normal(mean, deviation) => mean + deviation * rng.normal(),
            Draw::Uniform(lo, hi) => rng.range(lo, hi),
        };
        (0..self.shape.iter().product()).map(|_| draw(rng) as f32).collect()
    }
}

/// Work of one call, for the bounds that benches print.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    /// Bytes that must be read or written at least once.
    pub bytes: f64,
    /// Additions and multiplications.
    pub flop: f64,
    /// Exponentials.
    pub exp: f64,
}

/// Values or gradients by position.
pub type Values = Vec<Vec<f64>>;

/// An op as tests and benches see it.
pub trait Op: Sync {
    fn name(&self) -> &'static str;

    /// One line for the op table: the formula.
    fn formula(&self) -> &'static str;

    fn cases(&self) -> Vec<Case>;

    fn inputs(&self, case: &Case) -> Vec<Input>;

    /// Runs the op on the tape's device; the result keeps gradients for inputs on the tape.
    fn forward(&self, case: &Case, tape: &Tape, inputs: &[Var]) -> Result<Vec<Var>>;

    /// The plain-loop outputs.
    fn reference(&self, case: &Case, inputs: &[Vec<f64>]) -> Values;

    /// The plain-loop gradients of the inputs, given those of the outputs.
    /// Entries of inputs whose gradient no case asks for may be empty.
    fn reference_grad(&self, case: &Case, inputs: &[Vec<f64>], grads: &[Vec<f64>]) -> Values;

    /// Largest error in f32, relative to the norm of the whole tensor, from the length of its sums.
    fn tolerance(&self, case: &Case) -> f64;

    /// Work of one forward call, and of one backward call, with activations of a type.
    fn cost(&self, case: &Case, dtype: DType) -> (Cost, Cost);
}

/// Error bound of a sum of `terms` rounded products: their roundings add like a random walk.
pub fn sum_tolerance(terms: usize) -> f64 {
    4.0 * f64::from(f32::EPSILON) * (terms as f64).sqrt().max(1.0)
}

/// The kernels that backward launches for the first output of a case in which only these inputs are trained.
#[cfg(test)]
pub(crate) fn backward_kernels(op: &dyn Op, case: &Case, trained: &[&str]) -> Vec<String> {
    use engine::{Device, Tensor};

    let emulated = std::sync::Arc::new(engine::emulated::Emulated::new());
    let device = Device::launched(emulated.clone());
    let tape = Tape::new(&device);
    let variable = |input: Input| {
        let value = Tensor::from_slice(&device, &input.values(&mut Rng::keyed(1, 0, 0, 0)), &input.shape);
        if trained.contains(&input.name) { tape.leaf(value) } else { Var::constant(value) }
    };
    let inputs: Vec<Var> = op.inputs(case).into_iter().map(variable).collect();
    let y = op.forward(case, &tape, &inputs).unwrap().remove(0);
    emulated.take_totals();
    let seed = Tensor::zeros(&device, y.shape());
    let gradients = tape.backward(&y, seed).unwrap();
    let got = inputs.iter().filter(|input| gradients.get(input).is_some()).count();
    assert_eq!(got, trained.len());
    emulated.take_totals().into_keys().collect()
}
