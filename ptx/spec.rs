//! What an op tells tests and benches about itself.

use autograd::{Noted, Tape, Var};
use engine::launch::Limits;
use engine::{DType, Result, Rng};
use onnx::Graph;

use crate::export::{Call, Written};

/// One setting of one op: named sizes and switches. It knows no device.
#[derive(Debug, Clone)]
pub struct Case {
    /// Its sizes as `b=2,l=5`: shown in reports, and used to run one case again.
    pub name: String,
    sizes: Vec<(&'static str, usize)>,
    /// True for a shape of training, which benches time: that of Vim-S, or of ViT-B for an op that only a ViT has. It is
    /// too large for the gradient check in f64.
    pub bench: bool,
}

impl Case {
    /// A case named by its sizes; a switch is a size of 0 or 1.
    pub fn new(sizes: &[(&'static str, usize)]) -> Self {
        let name = sizes.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(",");
        Case { name, sizes: sizes.to_vec(), bench: false }
    }

    /// A case that benches time.
    pub fn bench(sizes: &[(&'static str, usize)]) -> Self {
        Case { bench: true, ..Self::new(sizes) }
    }

    /// The size of this name, 0 where the case has none.
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

    /// Whether a switch is on.
    pub fn is(&self, name: &str) -> bool {
        self.get(name) != 0
    }

    /// Whether launched devices must refuse these sizes, with [`engine::Error::Unsupported`].
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
    /// Shown in reports; [`Asked`] finds an input by it.
    pub name: &'static str,
    /// Its axes.
    pub shape: Vec<usize>,
    /// The distribution of its values.
    pub draw: Draw,
    /// Whether the case asks for its gradient.
    pub grad: bool,
    /// Whether it has the type of the activations. Other inputs are f32 in every run.
    pub typed: bool,
}

impl Input {
    /// An f32 input.
    pub fn new(name: &'static str, shape: &[usize], draw: Draw, grad: bool) -> Self {
        Input { name, shape: shape.to_vec(), draw, grad, typed: false }
    }

    /// An f32 input of standard normal values.
    pub fn normal(name: &'static str, shape: &[usize], grad: bool) -> Self {
        Self::new(name, shape, Draw::Normal(0.0, 1.0), grad)
    }

    /// The same input in the type of the activations.
    pub fn typed(self) -> Self {
        Input { typed: true, ..self }
    }

    /// Its random values, rounded to f32 once for every device and for the reference.
    pub fn values(&self, rng: &mut Rng) -> Vec<f32> {
        let draw = |rng: &mut Rng| match self.draw {
            Draw::Normal(mean, deviation) => mean + deviation * rng.normal(),
            Draw::Uniform(lo, hi) => rng.range(lo, hi),
        };
        (0..self.shape.iter().product()).map(|_| draw(rng) as f32).collect()
    }
}

/// A call whose memory an op states: where it runs, and which gradients are asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The inputs of the case.
    pub inputs: &'a [Input],
    /// The input whose gradient alone is asked for; without one, all that the case asks for.
    pub only: Option<usize>,
    /// Type of the typed inputs.
    pub dtype: DType,
    /// Whether it runs on a launched device, not on the CPU.
    pub launched: bool,
}

impl Asked<'_> {
    /// Whether the gradient of this input is asked for; false where the case has no such input.
    pub fn wants(&self, name: &str) -> bool {
        let asked = |(i, input): (usize, &Input)| {
            input.name == name && input.grad && self.only.is_none_or(|only| only == i)
        };
        self.inputs.iter().enumerate().any(asked)
    }

    /// Bytes of this input in the type that it comes in; `None` where the case has no such input.
    pub fn bytes(&self, name: &str) -> Option<usize> {
        self.inputs.iter().find(|input| input.name == name).map(|input| self.bytes_of(input))
    }

    /// Bytes of each input, in order.
    pub fn bytes_of_all(&self) -> Vec<usize> {
        self.inputs.iter().map(|input| self.bytes_of(input)).collect()
    }

    fn bytes_of(&self, input: &Input) -> usize {
        let dtype = if input.typed { self.dtype } else { DType::F32 };
        input.shape.iter().product::<usize>() * dtype.size()
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
    /// Those of the additions and multiplications that an own kernel leaves to tensor cores.
    pub tensor: f64,
    /// Issue slots of warps on a launched device, as the op's machine code takes them; `kernel_report` counts them and
    /// fails where they differ by more than a third. Those of the scan are the most that it lets pass. 0 where a GPU
    /// needs at least twice as long for the bytes.
    pub slots: f64,
    /// Passes of 128 bytes through shared memory, shuffles among them, in the same way.
    pub shared: f64,
}

/// Threads of a warp, which share an issue slot.
pub const WARP: f64 = 32.0;

/// Images of a Vim-S training step in the published recipe.
pub const TRAINING_IMAGES: usize = 96;

/// Tokens of an image in Vim-S training: the patches of 224 px and the class token.
pub const TRAINING_TOKENS: usize = 197;

/// A size of the bench cases that is larger in training. `kernel_report` counts what kernels do at the small sizes and
/// extrapolates to the target; see `shapes.rs` of the tests' kit.
#[derive(Debug, Clone, Copy)]
pub struct Axis {
    /// The name of the size.
    pub name: &'static str,
    /// A small size at which kernels are cut as they are in training; at 0 there is nothing to do.
    pub low: usize,
    /// Another.
    pub high: usize,
    /// A third, at which the extrapolation is checked.
    pub check: usize,
    /// The size in training.
    pub target: usize,
}

impl Axis {
    /// The axis of a size, with `[low, high, check]`.
    pub const fn new(name: &'static str, [low, high, check]: [usize; 3], target: usize) -> Self {
        Axis { name, low, high, check, target }
    }

    /// The axis `b` of images.
    pub const fn images(small: [usize; 3]) -> Self {
        Self::new("b", small, TRAINING_IMAGES)
    }
}

/// Values or gradients by position.
pub type Values = Vec<Vec<f64>>;

/// An op as tests and benches see it.
pub trait Op: Sync {
    /// The name of its folder.
    fn name(&self) -> &'static str;

    /// The formula in one line, for the table of ops.
    fn formula(&self) -> &'static str;

    /// All cases, one of them at least for the benches.
    fn cases(&self) -> Vec<Case>;

    /// Cases for the ways in which training's launches are cut, each with the cards that cut its launches so. They may
    /// have fewer multiprocessors than any that is sold, so that few blocks fill them. None where a launch does not
    /// depend on the card.
    fn card_cases(&self) -> Vec<(Case, Vec<Limits>)> {
        vec![]
    }

    /// The inputs of a case, in the order that the other functions take them in.
    fn inputs(&self, case: &Case) -> Vec<Input>;

    /// Runs the op on the tape's device; the results keep gradients for inputs on the tape.
    fn forward(&self, case: &Case, tape: &Tape, inputs: &[Var]) -> Result<Vec<Var>>;

    /// The outputs by the plain loops.
    fn reference(&self, case: &Case, inputs: &[Vec<f64>]) -> Values;

    /// The gradients of the inputs by the plain loops, given those of the outputs. They may be empty for inputs whose
    /// gradient no case asks for.
    fn reference_grad(&self, case: &Case, inputs: &[Vec<f64>], grads: &[Vec<f64>]) -> Values;

    /// Whether the gradient of a case is the derivative. One that is an estimate is not compared with central differences.
    fn is_slope(&self, _case: &Case) -> bool {
        true
    }

    /// Largest error in f32, relative to the norm of the whole tensor, from the length of its sums.
    fn tolerance(&self, case: &Case) -> f64;

    /// Work of one forward call and of one backward call, with activations of a type.
    fn cost(&self, case: &Case, dtype: DType) -> (Cost, Cost);

    /// The case whose [`Op::cost`] has the FLOP of a call that a tape noted. `None`, which a test refuses, where the op
    /// records no calls.
    fn noted(&self, _call: &Noted) -> Option<Case> {
        None
    }

    /// Writes a call of an evaluation as nodes of an ONNX graph, and returns the names of its outputs.
    ///
    /// # Errors
    /// The reason why it cannot be written; ops that only training calls do not override this.
    fn onnx(&self, _graph: &mut Graph, _call: &Call) -> Written {
        Err("no ONNX operator is known for it")
    }

    /// Bytes of each tensor that a forward call keeps for its backward pass, inputs and outputs among them, when
    /// gradients are asked for as `asked` says.
    fn kept(&self, case: &Case, asked: &Asked) -> Vec<usize>;

    /// The sizes by which its bench cases differ from training; none where they are those of training.
    fn training(&self) -> Vec<Axis>;

    /// Whether its FLOP are those of matrix products, which a library computes on a launched device.
    fn is_product(&self) -> bool {
        false
    }
}

/// Error bound of a sum of `terms` rounded products, whose roundings add like a random walk.
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
