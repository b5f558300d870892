//! What methods share that add small modules: parameters with initial values, and pieces of their passes.

use autograd::{Tape, Var};
use engine::{Rng, Tensor};
use ptx::activation::{Activation, activation};
use ptx::linear::{added, linear};
use ptx::scale_shift::scale_shift;

use super::entry::Site;
use crate::params::{Bound, ParamId, Params};
use crate::{Result, streams};

/// The values that a parameter begins with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Start {
    /// This value everywhere.
    All(f64),
    /// Uniform within this bound on both sides of 0.
    Uniform(f64),
    /// Normal around 0 with this deviation.
    Normal(f64),
    /// The same, drawn again beyond two deviations.
    Truncated(f64),
}

/// The start of the weights that `timm` gives to every product of a model that it builds: normal with deviation 0.02. It cuts
/// them at 2, a hundred deviations away.
pub(super) const TRUNC_NORMAL: Start = Start::Normal(0.02);

impl Start {
    /// PyTorch's start of a weight that `k` inputs enter (Kaiming's with a = sqrt 5): uniform within `1 / sqrt(k)`.
    pub fn kaiming(k: usize) -> Self {
        Start::Uniform(1.0 / (k as f64).sqrt())
    }

    fn draw(self, rng: &mut Rng) -> f64 {
        match self {
            Start::All(value) => value,
            Start::Uniform(bound) => rng.range(-bound, bound),
            Start::Normal(deviation) => deviation * rng.normal(),
            Start::Truncated(deviation) => loop {
                let normal = rng.normal();
                if normal.abs() <= 2.0 {
                    return deviation * normal;
                }
            },
        }
    }
}

/// Adds a method's trained parameters. Those whose values are drawn have a stream each, in their order.
pub(super) struct Adding<'a, 'b> {
    site: &'a mut Site<'b>,
    part: &'static str,
    added: u32,
}

impl<'a, 'b> Adding<'a, 'b> {
    /// Adds to a part of the model, as tables name it.
    pub fn new(site: &'a mut Site<'b>, part: &'static str) -> Self {
        Adding { site, part, added: 0 }
    }

    /// Adds a parameter.
    ///
    /// # Errors
    /// Those of [`Params::room`].
    pub fn add(&mut self, name: impl Into<String>, shape: &[usize], start: Start) -> Result<ParamId> {
        let name = name.into();
        self.site.params.room(&name, shape)?;
        self.added += u32::from(!matches!(start, Start::All(_)));
        let rng = &mut Rng::keyed(self.site.seed, 0, 0, streams::METHOD_INIT + self.added);
        let values = (0..shape.iter().product()).map(|_| start.draw(rng) as f32).collect();
        Ok(self.site.params.add(self.part, name, Tensor::from_vec(values, shape), true))
    }
}

/// A product that narrows, a function, and a product that widens.
#[derive(Clone, Copy)]
pub(super) struct Bottleneck<'a> {
    /// Weight `[r k]` and bias `[r]`.
    pub down: (&'a Var, Option<&'a Var>),
    pub function: Option<Activation>,
    /// Weight `[n r]` and bias `[n]`.
    pub up: (&'a Var, Option<&'a Var>),
    /// The factor of what is added.
    pub scale: f32,
}

impl Bottleneck<'_> {
    /// `y [.. n]` plus the scaled output for `x [.. k]`. The narrow part has the type of x, and the sum that of y.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn add_to(&self, tape: &Tape, x: &Var, y: Var) -> Result<Var> {
        let mut narrow = linear(tape, x, self.down.0, self.down.1)?;
        if let Some(function) = self.function {
            narrow = activation(tape, &narrow, function)?;
        }
        let narrow = tape.cast(&scaled(tape, narrow, self.scale)?, y.value().dtype())?;
        let bias = self.up.1.map(|bias| scaled(tape, bias.clone(), self.scale)).transpose()?;
        Ok(added(tape, y, &narrow, self.up.0, bias.as_ref())?)
    }
}

/// `x [.. d]` times a number.
///
/// # Errors
/// A fault of the device.
pub(super) fn scaled(tape: &Tape, x: Var, by: f32) -> Result<Var> {
    if by == 1.0 {
        return Ok(x);
    }
    let d = x.shape().last().copied().unwrap_or(0);
    let by = Var::constant(Tensor::from_slice(tape.device(), &vec![by; d], &[d]));
    Ok(scale_shift(tape, &x, &by, None)?)
}

/// A matrix `[rows columns]` on the host.
pub(super) struct Matrix {
    pub values: Vec<f64>,
    pub columns: usize,
}

impl Matrix {
    /// The values of a parameter, with so many in a row.
    ///
    /// # Errors
    /// Values that cannot be read back from the device.
    pub fn of(params: &Params, id: ParamId, columns: usize) -> Result<Self> {
        Ok(Matrix::new(&params.get(id).to_host()?, columns))
    }

    /// These values, with so many in a row.
    pub fn new(values: &[f32], columns: usize) -> Self {
        Matrix { values: values.iter().map(|&value| value.into()).collect(), columns }
    }

    /// The rows, one after the other.
    pub fn rows(&self) -> impl Iterator<Item = &[f64]> {
        self.values.chunks_exact(self.columns)
    }

    /// The product with a matrix of as many rows as this one has columns.
    pub fn times(&self, other: &Matrix) -> Matrix {
        let mut values = vec![];
        for row in self.rows() {
            let mut sum = vec![0.0; other.columns];
            for (by, other) in row.iter().zip(other.rows()) {
                sum.iter_mut().zip(other).for_each(|(sum, other)| *sum += by * other);
            }
            values.extend(sum);
        }
        Matrix { values, columns: other.columns }
    }
}

/// Adds `scale` times the values to those of a parameter from element `first` on, rounded once.
///
/// # Errors
/// Values that cannot be read back from the device.
pub(super) fn add_to_param(
    params: &mut Params,
    id: ParamId,
    first: usize,
    values: &[f64],
    scale: f64,
) -> Result<()> {
    let (shape, mut sum) = (params.get(id).shape().to_vec(), params.get(id).to_host()?);
    for (sum, value) in sum[first..].iter_mut().zip(values) {
        *sum = (f64::from(*sum) + scale * value) as f32;
    }
    params.set(id, Tensor::from_vec(sum, &shape));
    Ok(())
}

/// A parameter on the tape as a matrix of `columns`.
///
/// # Errors
/// A fault of the device.
pub(super) fn as_matrix(tape: &Tape, params: &Bound, id: ParamId, columns: usize) -> Result<Var> {
    let value = &params[id];
    Ok(tape.reshape(value, &[value.value().numel() / columns, columns])?)
}

/// Weight and bias of a product or a norm that a method adds.
#[derive(Clone, Copy)]
pub(super) struct Affine {
    pub weight: ParamId,
    pub bias: ParamId,
}

impl Affine {
    /// Adds a product of `k` channels to `n`.
    ///
    /// # Errors
    /// Those of [`Params::room`].
    pub fn product(adding: &mut Adding, name: &str, [n, k]: [usize; 2], weight: Start) -> Result<Self> {
        Ok(Affine {
            weight: adding.add(format!("{name}.weight"), &[n, k], weight)?,
            bias: adding.add(format!("{name}.bias"), &[n], Start::All(0.0))?,
        })
    }

    /// On the tape, as a [`Bottleneck`] takes it.
    pub fn on<'a>(&self, params: &'a Bound) -> (&'a Var, Option<&'a Var>) {
        (&params[self.weight], Some(&params[self.bias]))
    }
}
