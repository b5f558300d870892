//! Goldens of pruning: which masks the importance leaves.

use svp::methods::e2vpt::{LEAST_PIECES, LEAST_TOKENS, kept};
use testkit::golden::Golden;

/// Compares the masks of rows, and of the pieces of each row, at every percentage that the file has.
pub fn e2vpt_prune(golden: &Golden) -> Vec<String> {
    assert_eq!([golden.size("min_tokens"), golden.size("min_pieces")], [LEAST_TOKENS, LEAST_PIECES]);
    let percents = golden.setting("percents").split(',').map(|text| text.parse::<usize>().expect("a number"));
    let percents: Vec<usize> = percents.collect();
    let mut found = vec![];
    for (name, least) in [("token", LEAST_TOKENS), ("piece", LEAST_PIECES)] {
        let importance = golden.get(&format!("importance.{name}s"));
        let (values, row) = (importance.as_slice(), *importance.shape().last().expect("an axis"));
        let masks = golden.get(&format!("{name}_masks"));
        let counts = &golden.integers[&format!("{name}_counts")];
        // The published list ends with the first percentage at which the fewest are left.
        assert!(masks.shape()[0] == counts.len() && (1..=percents.len()).contains(&counts.len()));
        for (i, (&percent, &count)) in percents.iter().zip(counts).enumerate() {
            let got: Vec<f32> = values.chunks_exact(row).flat_map(|row| kept(row, percent, least)).collect();
            let out = got[..row].iter().filter(|&&mask| mask == 0.0).count();
            let want = &masks.as_slice()[i * values.len()..][..values.len()];
            if got != want || out as i64 != count {
                found.push(format!(
                    "{name} masks at {percent} %: {got:?}, want {want:?} with {count} left out"
                ));
            }
        }
    }
    found
}
