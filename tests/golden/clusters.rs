//! Goldens of clustering.

use svp::cluster::{Tree, means};
use testkit::golden::{Differences, Golden};

/// Allowed error of prototypes and of heights.
const CLOSE: f64 = 1e-5;

/// Clusters the points at every threshold of the file.
pub fn agglomerative(golden: &Golden) -> Vec<String> {
    let mut found = Differences::default();
    let (points, dim) = (golden.get("input.features").as_slice(), golden.size("dim"));
    let tree = Tree::average(points, dim);
    let single = |values: &[f64]| values.iter().map(|&v| v as f32).collect::<Vec<_>>();
    found.compare("heights", &single(&tree.heights()), &single(&golden.doubles["merge_heights"]), CLOSE);
    for (i, &threshold) in golden.doubles["input.thresholds"].iter().enumerate() {
        let cluster_of = tree.cut(tree.clusters_at(threshold));
        let want = golden.integers[&format!("labels_first_seen.{i}")].iter();
        if !cluster_of.iter().map(|&cluster| cluster as i64).eq(want.copied()) {
            found.0.push(format!("another partition at the threshold {threshold}"));
            continue;
        }
        let name = format!("prototypes_first_seen.{i}");
        found.compare(&name, &means(points, dim, &cluster_of), golden.get(&name).as_slice(), CLOSE);
    }
    found.0
}
