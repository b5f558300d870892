//! The most salient rows on the CPU: an image a task.

use rayon::prelude::*;

use super::call::Call;

/// Writes the numbers of the rows to `y [b k]`.
pub fn salient(call: &Call, p: &[f32], y: &mut [f32]) {
    let &Call { heads, keys, extra, rows, k, .. } = call;
    y.par_chunks_mut(k).zip(p.par_chunks(heads * keys)).for_each(|(y, p)| {
        // The sum over the heads has the order of the mean.
        let sum = |row: usize| {
            let sum: f32 = p.chunks_exact(keys).map(|head| head[extra + row]).sum();
            if sum.is_nan() { f32::NEG_INFINITY } else { sum }
        };
        let mut all: Vec<(f32, usize)> = rows.iter().map(|&row| (sum(row), row)).collect();
        all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        y.iter_mut().zip(all).for_each(|(y, (_, row))| *y = row as f32);
    });
}
