//! Matrix products on a launched device: row-major operands as the column-major ones that BLAS takes.
//!
//! A row-major matrix is its own transpose to BLAS, and `C^T = op(B)^T op(A)^T`: the operands change places, their
//! transpositions stay.

use crate::launch::{BlasGemm, Launcher, Region};
use crate::{DType, Result, Tensor};

/// One operand: a row-major matrix whose rows start `ld` elements apart, read as it is or transposed.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    region: Region,
    dtype: DType,
    ld: usize,
    transposed: bool,
}

impl Place {
    /// The matrix that starts `first` elements into a tensor.
    pub fn rows(tensor: &Tensor, first: usize, ld: usize) -> Self {
        let region = tensor.region().skip(first * tensor.dtype().size());
        Place { region, dtype: tensor.dtype(), ld, transposed: false }
    }

    /// The transpose of [`Place::rows`].
    pub fn transposed(tensor: &Tensor, first: usize, ld: usize) -> Self {
        Place { transposed: true, ..Self::rows(tensor, first, ld) }
    }

    /// [`Place::rows`] of a result. Panics when the storage is shared.
    pub fn result(tensor: &mut Tensor, first: usize, ld: usize) -> Self {
        tensor.region_mut();
        Self::rows(tensor, first, ld)
    }

    /// Checks the logical size against the rows and the region.
    fn check(&self, rows: usize, cols: usize) {
        let (outer, inner) = if self.transposed { (cols, rows) } else { (rows, cols) };
        let end = (outer.max(1) - 1) * self.ld + inner;
        assert!(
            inner <= self.ld && end * self.dtype.size() <= self.region.bytes,
            "{self:?}: {rows} x {cols}"
        );
    }
}

/// `c[m n] = a[m k] b[k n]`, plus what `c` held when `accumulate`. `a` and `b` have one type.
pub fn gemm(
    launcher: &dyn Launcher,
    [m, n, k]: [usize; 3],
    a: Place,
    b: Place,
    c: Place,
    accumulate: bool,
) -> Result<()> {
    if m == 0 || n == 0 {
        return Ok(());
    }
    launcher.gemm(&column_major([m, n, k], a, b, c, accumulate))
}

/// `c[m n] = a[m k] b[k n] + bias[n]` in every row; `c` and `bias` are f32.
pub fn gemm_bias(
    launcher: &dyn Launcher,
    [m, n, k]: [usize; 3],
    a: Place,
    b: Place,
    c: Place,
    bias: &Tensor,
) -> Result<()> {
    assert!(c.dtype == DType::F32 && bias.dtype() == DType::F32 && bias.numel() == n);
    if m == 0 || n == 0 {
        return Ok(());
    }
    let product = column_major([m, n, k], a, b, c, false);
    launcher.gemm(&BlasGemm { bias: Some(bias.region()), ..product })
}

fn column_major([m, n, k]: [usize; 3], a: Place, b: Place, c: Place, accumulate: bool) -> BlasGemm {
    assert!(a.dtype == b.dtype && !c.transposed);
    a.check(m, k);
    b.check(k, n);
    c.check(m, n);
    BlasGemm {
        m: n,
        n: m,
        k,
        a: (b.region, b.ld, b.transposed),
        b: (a.region, a.ld, a.transposed),
        c: (c.region, c.ld),
        input: a.dtype,
        output: c.dtype,
        beta: if accumulate { 1.0 } else { 0.0 },
        bias: None,
        tf32: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use crate::gemm::{Mat, gemm};

    /// BLAS by its definition, over one f32 memory.
    fn execute(memory: &mut [f32], g: &BlasGemm) {
        let at = |(region, ld, transposed): (Region, usize, bool), row: usize, col: usize| {
            let (row, col) = if transposed { (col, row) } else { (row, col) };
            region.at as usize / 4 + col * ld + row
        };
        for i in 0..g.m {
            for j in 0..g.n {
                let sum: f32 = (0..g.k).map(|p| memory[at(g.a, i, p)] * memory[at(g.b, p, j)]).sum();
                let to = at((g.c.0, g.c.1, false), i, j);
                memory[to] = sum + if g.beta == 0.0 { 0.0 } else { g.beta * memory[to] };
            }
        }
    }

    #[test]
    fn row_major_products_come_out_of_column_major_ones() {
        for [m, n, k] in [[1, 1, 1], [5, 7, 3], [1, 9, 4], [33, 17, 65]] {
            for (ta, tb, accumulate) in
                [(false, false, false), (true, false, true), (false, true, true), (true, true, false)]
            {
                let (lda, ldb, ldc) = (if ta { m } else { k } + 3, if tb { k } else { n } + 1, n + 2);
                let sizes = [lda * if ta { k } else { m }, ldb * if tb { n } else { k }, ldc * m];
                let mut rng = Rng::keyed(5, 0, 0, 0);
                let mut memory: Vec<f32> = (0..sizes.iter().sum()).map(|_| rng.normal() as f32).collect();
                let place = |i: usize, ld, transposed| {
                    let at = 4 * sizes[..i].iter().sum::<usize>() as u64;
                    Place { region: Region { at, bytes: 4 * sizes[i] }, dtype: DType::F32, ld, transposed }
                };
                let mat = |data, ld, t| if t { Mat::transposed(data, ld) } else { Mat::rows(data, ld) };
                let (a, rest) = memory.split_at(sizes[0]);
                let (b, c) = rest.split_at(sizes[1]);
                let mut want = c.to_vec();
                gemm(m, n, k, mat(a, lda, ta), mat(b, ldb, tb), &mut want, ldc, accumulate);
                let c = place(2, ldc, false);
                let blas = column_major([m, n, k], place(0, lda, ta), place(1, ldb, tb), c, accumulate);
                execute(&mut memory, &blas);
                for (got, want) in memory[sizes[0] + sizes[1]..].iter().zip(&want) {
                    let error = (got - want).abs();
                    assert!(error <= 1e-5 * (k as f32), "{m} {n} {k} {ta} {tb}: {got} {want}");
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "3 x 5")]
    fn an_operand_beyond_its_memory_is_refused() {
        let region = Region { at: 0, bytes: 4 * 14 };
        Place { region, dtype: DType::F32, ld: 5, transposed: false }.check(3, 5);
    }
}
