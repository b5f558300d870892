//! Agglomerative clustering of points by average linkage and Euclidean distance, as DAM-VP sorts its images
//! (`docs/methods.md`, "DAM-VP").
//!
//! The merges are those of scikit-learn: the two clusters whose points are the least apart on average are merged first,
//! and a threshold lets merges happen that are strictly below it.

use std::ops::RangeInclusive;

use kodama::{Method, linkage};
use rayon::prelude::*;

/// All merges of a set of points, until one cluster is left.
pub struct Tree {
    points: usize,
    /// The two clusters of each merge and their mean distance, by rising distance. Numbers below that of the points are
    /// points; from there on they are merges, in order.
    merges: Vec<([usize; 2], f64)>,
}

impl Tree {
    /// Clusters points `[n dim]`. Time and memory grow with the square of n.
    pub fn average(points: &[f32], dim: usize) -> Self {
        let n = points.len() / dim;
        let row = |i: usize| &points[i * dim..][..dim];
        let distance = move |i: usize, j: usize| -> f64 {
            let squares = row(i).iter().zip(row(j)).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2));
            squares.sum::<f64>().sqrt()
        };
        let pairs = (0..n).into_par_iter().flat_map_iter(|i| (i + 1..n).map(move |j| distance(i, j)));
        let mut distances: Vec<f64> = pairs.collect();
        let merges = linkage(&mut distances, n, Method::Average);
        let merge = |step: &kodama::Step<f64>| ([step.cluster1, step.cluster2], step.dissimilarity);
        Tree { points: n, merges: merges.steps().iter().map(merge).collect() }
    }

    /// Mean distances of the merged clusters, rising: one for each merge.
    pub fn heights(&self) -> Vec<f64> {
        self.merges.iter().map(|merge| merge.1).collect()
    }

    /// The number of clusters that are left by the merges strictly below `threshold`.
    pub fn clusters_at(&self, threshold: f64) -> usize {
        self.points - self.merges.iter().filter(|merge| merge.1 < threshold).count()
    }

    /// The number of clusters, in a range from 2 on, that stands out the most: the merge that would leave one fewer is
    /// farther above the last merge that was made than for any other number. The fewest of several that stand out alike.
    /// Equal points are never apart, so there are at most as many clusters as different points. The threshold halfway
    /// between the two merges comes with it; a single cluster needs none but one above 0.
    pub fn standing_out(&self, range: RangeInclusive<usize>) -> (usize, f64) {
        let different = self.different();
        if different < 2 {
            return (different, 1.0);
        }
        // Height of the merge that leaves so many clusters, and 0 where none is needed.
        let leaving = |clusters: usize| match self.points - clusters {
            0 => 0.0,
            merges => self.merges[merges - 1].1,
        };
        let gap = |clusters: &usize| leaving(*clusters - 1) - leaving(*clusters);
        let (least, most) = ((*range.start()).clamp(2, different), (*range.end()).clamp(2, different));
        // `max_by` takes the last of equals, so the fewest come last.
        let found = (least..=most).rev().max_by(|a, b| gap(a).total_cmp(&gap(b))).unwrap_or(different);
        (found, (leaving(found) + leaving(found - 1)) / 2.0)
    }

    /// The number of different points.
    pub fn different(&self) -> usize {
        self.clusters_at(f64::MIN_POSITIVE)
    }

    /// The cluster of each point when the first merges have left so many. Clusters are numbered in the order in which
    /// their first points come.
    pub fn cut(&self, clusters: usize) -> Vec<usize> {
        let merges = self.points - clusters.clamp(usize::from(self.points > 0), self.points);
        // The merge that each point or merge is part of, itself at first.
        let mut within: Vec<usize> = (0..self.points + merges).collect();
        for (i, (pair, _)) in self.merges[..merges].iter().enumerate() {
            pair.iter().for_each(|&part| within[part] = self.points + i);
        }
        let mut roots: Vec<usize> = vec![];
        (0..self.points)
            .map(|point| {
                let mut root = point;
                while within[root] != root {
                    root = within[root];
                }
                roots.iter().position(|&known| known == root).unwrap_or_else(|| {
                    roots.push(root);
                    roots.len() - 1
                })
            })
            .collect()
    }
}

/// The means `[clusters dim]` of the points `[n dim]` of each cluster.
pub fn means(points: &[f32], dim: usize, cluster_of: &[usize]) -> Vec<f32> {
    let clusters = cluster_of.iter().max().map_or(0, |last| last + 1);
    let (mut sums, mut counts) = (vec![0.0; clusters * dim], vec![0.0; clusters]);
    for (point, &cluster) in points.chunks_exact(dim).zip(cluster_of) {
        counts[cluster] += 1.0;
        let sum = &mut sums[cluster * dim..][..dim];
        sum.iter_mut().zip(point).for_each(|(sum, &x)| *sum += f64::from(x));
    }
    sums.iter().enumerate().map(|(i, sum)| (sum / counts[i / dim]) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points on a line: four at 0, 1, 10 and 11, then five that are alike.
    const LINE: [f32; 9] = [0.0, 1.0, 10.0, 11.0, 50.0, 50.0, 50.0, 50.0, 50.0];

    #[test]
    fn merges_stop_below_the_threshold() {
        let tree = Tree::average(&LINE, 1);
        assert_eq!(tree.heights(), [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 10.0, 44.5]);
        let clusters = [0.0, 0.5, 1.0, 1.5, 10.0, 10.5, 100.0].map(|threshold| tree.clusters_at(threshold));
        assert_eq!(clusters, [9, 5, 5, 3, 3, 2, 1], "a merge at the threshold does not happen");
        assert_eq!(tree.cut(3), [0, 0, 1, 1, 2, 2, 2, 2, 2]);
        assert_eq!(tree.cut(1), [0; 9]);
        assert_eq!(tree.cut(99), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(means(&LINE, 1, &tree.cut(3)), [0.5, 10.5, 50.0]);
    }

    #[test]
    fn the_number_that_stands_out_is_found() {
        let tree = Tree::average(&LINE, 1);
        assert_eq!(tree.standing_out(2..=4), (2, 27.25));
        assert_eq!(tree.standing_out(3..=4), (3, 5.5));
        // Between five and four clusters, merges are 1 apart; between four and three, not at all.
        assert_eq!(tree.standing_out(4..=8), (5, 0.5));
        assert_eq!(tree.standing_out(10..=40), (5, 0.5), "only five points are different");
        for (clusters, threshold) in [tree.standing_out(2..=4), tree.standing_out(10..=40)] {
            assert_eq!(tree.clusters_at(threshold), clusters);
        }
        let alike = Tree::average(&[3.0; 7], 1);
        assert_eq!((alike.standing_out(10..=40), alike.clusters_at(1.0)), ((1, 1.0), 1));
        assert_eq!(Tree::average(&[3.0], 1).standing_out(10..=40), (1, 1.0));
        assert_eq!(Tree::average(&[3.0], 1).cut(1), [0]);
    }
}
