//! Centres of clusters of rows, by Lloyd's algorithm from k-means++ (Arthur and Vassilvitskii 2007).

use engine::Rng;
use rayon::prelude::*;

/// Most rounds of Lloyd's algorithm. The centres hardly move after some ten.
const ROUNDS: usize = 30;

/// The centres `[k width]` of `rows [n width]`. Sums are in f64 and in the order of the rows, so the same rows and random
/// numbers give the same bytes.
///
/// # Panics
/// With fewer rows than centres, or none.
pub fn centres(rows: &[f32], width: usize, k: usize, rng: &mut Rng) -> Vec<f32> {
    let rows: Vec<&[f32]> = rows.chunks_exact(width).collect();
    assert!((1..=rows.len()).contains(&k), "{k} centres of {} rows", rows.len());
    let mut centres = first(&rows, k, rng);
    let mut nearest = vec![usize::MAX; rows.len()];
    for _ in 0..ROUNDS {
        let found: Vec<(usize, f64)> = rows.par_iter().map(|row| closest(row, &centres)).collect();
        let settled = found.iter().zip(&nearest).all(|((at, _), before)| at == before);
        nearest = found.iter().map(|&(at, _)| at).collect();
        if settled {
            break;
        }
        centres = means(&rows, &mut nearest, &found, k);
    }
    centres.concat()
}

/// k-means++: each further centre is a row, drawn in proportion to its squared distance from the nearest centre so far.
fn first(rows: &[&[f32]], k: usize, rng: &mut Rng) -> Vec<Vec<f32>> {
    let mut centres = vec![rows[rng.below(rows.len() as u32) as usize].to_vec()];
    let mut far: Vec<f64> = vec![f64::INFINITY; rows.len()];
    while centres.len() < k {
        let last = &centres[centres.len() - 1];
        far.par_iter_mut().zip(rows).for_each(|(far, row)| *far = far.min(distance(row, last)));
        let mut left = rng.uniform() * far.iter().sum::<f64>();
        let drawn = far.iter().position(|far| {
            left -= far;
            left < 0.0
        });
        // Where all rows are centres already, any row is as good.
        let drawn = drawn.unwrap_or_else(|| rng.below(rows.len() as u32) as usize);
        centres.push(rows[drawn].to_vec());
    }
    centres
}

/// Means of the clusters. An empty one takes the row that is farthest from its centre.
fn means(rows: &[&[f32]], nearest: &mut [usize], found: &[(usize, f64)], k: usize) -> Vec<Vec<f32>> {
    let mut counts = vec![0usize; k];
    nearest.iter().for_each(|&at| counts[at] += 1);
    let mut farthest: Vec<usize> = (0..rows.len()).collect();
    farthest.sort_by(|&a, &b| found[b].1.total_cmp(&found[a].1));
    let mut farthest = farthest.into_iter();
    for empty in 0..k {
        if counts[empty] > 0 {
            continue;
        }
        let Some(row) = farthest.find(|&row| counts[nearest[row]] > 1) else { continue };
        counts[nearest[row]] -= 1;
        (nearest[row], counts[empty]) = (empty, 1);
    }
    let mut sums = vec![vec![0.0f64; rows[0].len()]; k];
    for (row, &at) in rows.iter().zip(&*nearest) {
        sums[at].iter_mut().zip(*row).for_each(|(sum, &v)| *sum += f64::from(v));
    }
    let mean =
        |(sum, count): (Vec<f64>, usize)| sum.iter().map(|v| (v / count.max(1) as f64) as f32).collect();
    sums.into_iter().zip(counts).map(mean).collect()
}

/// The number of the nearest centre, the first of equals, and the squared distance to it.
fn closest(row: &[f32], centres: &[Vec<f32>]) -> (usize, f64) {
    let distances = centres.iter().map(|centre| distance(row, centre)).enumerate();
    distances.min_by(|a, b| a.1.total_cmp(&b.1)).expect("a centre")
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three heaps far apart have their means for centres, and equal rows do not stop it.
    #[test]
    fn heaps_are_found() {
        let mut rng = Rng::keyed(3, 0, 0, 0);
        let heaps = [[0.0f32, 0.0], [100.0, 0.0], [0.0, 100.0]];
        let rows: Vec<f32> = (0..60).flat_map(|i| heaps[i % 3].map(|v| v + rng.uniform() as f32)).collect();
        let mut found: Vec<Vec<f32>> =
            centres(&rows, 2, 3, &mut Rng::keyed(1, 0, 0, 0)).chunks(2).map(<[f32]>::to_vec).collect();
        found.sort_by(|a, b| (a[0] + 2.0 * a[1]).total_cmp(&(b[0] + 2.0 * b[1])));
        let mean = |heap: usize, at: usize| {
            (0..20).map(|i| f64::from(rows[2 * (3 * i + heap) + at])).sum::<f64>() / 20.0
        };
        for (centre, heap) in found.iter().zip(0..) {
            for at in 0..2 {
                assert!((f64::from(centre[at]) - mean(heap, at)).abs() < 1e-4, "{found:?}");
            }
        }
        let equal = centres(&[7.0; 10], 1, 4, &mut Rng::keyed(1, 0, 0, 0));
        assert!(equal.contains(&7.0), "{equal:?}");
        assert_eq!(centres(&rows, 2, 3, &mut rng.clone()), centres(&rows, 2, 3, &mut rng));
    }
}
