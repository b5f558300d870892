//! Matrix products, computed when they run.

use engine::gemm::{Mat, gemm};
use half::bf16;

use crate::memory::Memory;
use crate::stream::Fault;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Type {
    F32,
    Bf16,
}

impl Type {
    pub fn bytes(self) -> usize {
        match self {
            Type::F32 => 4,
            Type::Bf16 => 2,
        }
    }

    fn values(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Type::F32 => bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
            Type::Bf16 => bytes.as_chunks().0.iter().map(|&b| bf16::from_le_bytes(b).to_f32()).collect(),
        }
    }

    fn bytes_of(self, values: &[f32]) -> Vec<u8> {
        match self {
            Type::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Type::Bf16 => values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect(),
        }
    }
}

/// Layout of a column-major matrix in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Layout {
    pub dtype: Type,
    pub rows: usize,
    pub columns: usize,
    /// Elements from one column to the next.
    pub ld: usize,
}

impl Layout {
    fn column(&self, at: u64, column: usize) -> u64 {
        at + (column * self.ld * self.dtype.bytes()) as u64
    }

    /// Reads column after column, without the gaps between them.
    fn read(&self, memory: &Memory, at: u64) -> Result<Vec<f32>, Fault> {
        let mut values = Vec::with_capacity(self.rows * self.columns);
        let mut bytes = vec![0; self.rows * self.dtype.bytes()];
        for column in 0..self.columns {
            memory.read(self.column(at, column), &mut bytes)?;
            values.extend(self.dtype.values(&bytes));
        }
        Ok(values)
    }

    fn write(&self, memory: &Memory, at: u64, values: &[f32]) -> Result<(), Fault> {
        let columns = values.chunks_exact(self.rows).enumerate();
        columns.into_iter().try_for_each(|(column, values)| {
            memory.write(self.column(at, column), &self.dtype.bytes_of(values))
        })
    }
}

/// The product `D = alpha op(A) op(B) + beta C (+ bias)`, with all that an algorithm is chosen by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shape {
    pub a: Layout,
    pub b: Layout,
    /// C has the layout of D.
    pub d: Layout,
    pub transposed: [bool; 2],
    /// Whether A and B are rounded to TF32.
    pub tf32: bool,
    pub bias: bool,
}

impl Shape {
    /// Number of products that are added for one element of D.
    fn depth(&self) -> usize {
        if self.transposed[0] { self.a.rows } else { self.a.columns }
    }

    /// Sizes and types, for messages.
    pub fn name(&self) -> String {
        let (Layout { rows, columns, dtype, .. }, input) = (self.d, self.a.dtype);
        format!("{rows} {columns} {} {input:?} {dtype:?}", self.depth())
    }
}

#[derive(Debug)]
pub struct Product {
    pub shape: Shape,
    pub a: u64,
    pub b: u64,
    pub c: u64,
    pub d: u64,
    pub alpha: f32,
    pub beta: f32,
    pub bias: Option<u64>,
    /// Memory that the product may fill with anything.
    pub workspace: (u64, usize),
}

impl Product {
    pub fn run(&self, memory: &Memory) -> Result<(), Fault> {
        self.multiply(memory).map_err(|why| format!("product {}: {why}", self.shape.name()))
    }

    /// Computes the product. A column-major matrix is the transpose of a row-major one, so this multiplies the
    /// transposes in the other order.
    fn multiply(&self, memory: &Memory) -> Result<(), Fault> {
        const GARBAGE: u8 = 0xA5;
        let Shape { a, b, d, transposed, tf32, .. } = &self.shape;
        let operand = |layout: &Layout, at| {
            let mut values = layout.read(memory, at)?;
            if *tf32 {
                values.iter_mut().for_each(|v| *v = to_tf32(*v));
            }
            Ok::<_, Fault>(values)
        };
        let (a_values, b_values) = (operand(a, self.a)?, operand(b, self.b)?);
        let matrix = |layout: &Layout, values, transposed| match transposed {
            true => Mat::transposed(values, layout.rows),
            false => Mat::rows(values, layout.rows),
        };
        let a_matrix = matrix(a, &a_values, transposed[0]);
        let b_matrix = matrix(b, &b_values, transposed[1]);
        let before = if self.beta == 0.0 { None } else { Some(d.read(memory, self.c)?) };
        // Where C is added unscaled, one sum includes it.
        let accumulate = before.is_some() && self.alpha == 1.0 && self.beta == 1.0;
        let mut values = match &before {
            Some(before) if accumulate => before.clone(),
            _ => vec![0.0; d.rows * d.columns],
        };
        gemm(d.columns, d.rows, self.shape.depth(), b_matrix, a_matrix, &mut values, d.rows, accumulate);
        if !accumulate {
            values.iter_mut().for_each(|v| *v *= self.alpha);
            let before = before.iter().flatten();
            values.iter_mut().zip(before).for_each(|(v, c)| *v += self.beta * c);
        }
        if let Some(bias) = self.bias {
            let column = Layout { dtype: Type::F32, columns: 1, ..*d };
            let bias = column.read(memory, bias)?;
            values.chunks_exact_mut(d.rows).for_each(|v| v.iter_mut().zip(&bias).for_each(|(v, b)| *v += b));
        }
        if self.workspace.1 > 0 {
            memory.write(self.workspace.0, &vec![GARBAGE; self.workspace.1])?;
        }
        d.write(memory, self.d, &values)
    }
}

/// Rounds to 10 bits of mantissa, ties away from zero.
fn to_tf32(value: f32) -> f32 {
    if value.is_finite() { f32::from_bits((value.to_bits() + 0x1000) & !0x1FFF) } else { value }
}
