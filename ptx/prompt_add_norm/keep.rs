//! Drop path's factors (stochastic depth, Huang et al. 2016), as `timm` draws them: a whole sample is dropped.

use engine::{Error, Result, Rng, Tensor};

/// One row of drop path's factors. Those of all layers come to the device together.
#[derive(Clone, Copy)]
pub struct Keep<'a> {
    /// `[rows b]`, f32.
    pub scales: &'a Tensor,
    /// The row that a call uses.
    pub row: usize,
}

/// The factor of each sample in one layer: 0 with probability `p`, else `1 / (1 - p)`. A sample is named by its number
/// in the data set, so that its factor depends neither on its place in a batch nor on the number of threads. `stream` is
/// the layer's stream of [`Rng`].
///
/// # Errors
/// A probability outside `[0, 1)` is [`Error::Unsupported`].
pub fn keep_scales(seed: u64, epoch: u32, samples: &[u32], stream: u32, p: f64) -> Result<Vec<f32>> {
    if !(0.0..1.0).contains(&p) {
        let what = format!("probability {p} is not in [0, 1)");
        return Err(Error::Unsupported { op: "drop_path", what });
    }
    let scale = |&sample: &u32| {
        let dropped = Rng::keyed(seed, epoch, sample, stream).chance(p);
        if dropped { 0.0 } else { (1.0 / (1.0 - p)) as f32 }
    };
    Ok(samples.iter().map(scale).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_keeps_its_factor_wherever_it_stands() {
        let draw = |samples: &[u32], stream| keep_scales(7, 3, samples, stream, 0.25).unwrap();
        let samples: Vec<u32> = (0..4000).collect();
        let all = draw(&samples, 5);
        assert_eq!(draw(&[41, 7, 3999], 5), [all[41], all[7], all[3999]]);
        let dropped = all.iter().filter(|&&s| s == 0.0).count();
        // 1000 are expected, with a standard deviation of 27; five of those are allowed.
        assert!(dropped.abs_diff(1000) < 137, "{dropped}");
        assert!(all.iter().all(|&s| s == 0.0 || s == (1.0 / 0.75) as f32));
        assert_ne!(draw(&samples, 6), all, "each layer draws for itself");
        assert!(keep_scales(0, 0, &[0], 0, 0.0).unwrap() == [1.0]);
        assert!(keep_scales(0, 0, &[0], 0, 1.0).is_err());
    }
}
