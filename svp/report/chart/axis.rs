//! One direction of a chart: where values lie, and the ticks along it.

use crate::report::table::count;

/// Maps values to pixels along one direction.
pub struct Axis {
    low: f64,
    high: f64,
    /// 1 keeps ticks to whole numbers.
    least_step: f64,
    /// Pixel of `low`.
    origin: f32,
    /// Pixels from `low` to `high`.
    length: f32,
}

impl Axis {
    /// An axis over all values, with the share `free` of their range unused at both ends. It begins at pixel `origin`
    /// and is `length` pixels long; a negative length points up or left. Ticks are at least `least_step` apart.
    pub fn new(
        values: impl Iterator<Item = f64>,
        free: f64,
        least_step: f64,
        origin: f32,
        length: f32,
    ) -> Self {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
        let range = high - low;
        let margin = if range > 0.0 { free * range } else { (low.abs() / 10.0).max(least_step).max(1e-3) };
        Self { low: low - margin, high: high + margin, least_step, origin, length }
    }

    /// The pixel of a value, which may lie beyond both ends.
    pub fn pixel(&self, value: f64) -> f32 {
        self.origin + self.length * ((value - self.low) / (self.high - self.low)) as f32
    }

    /// About `wanted` round values with their labels: steps of 1, 2 or 5 times a power of ten.
    pub fn ticks(&self, wanted: u32) -> Vec<(f64, String)> {
        let step = ((self.high - self.low) / f64::from(wanted)).max(self.least_step);
        let power = 10f64.powf(step.log10().floor());
        let step = power * [1.0, 2.0, 5.0].into_iter().find(|m| m * power >= step * 0.999).unwrap_or(10.0);
        let (first, last) = ((self.low / step).ceil() as i64, (self.high / step).floor() as i64);
        (first..=last).map(|i| (i as f64 * step, tick_label(i as f64 * step, step))).collect()
    }
}

/// A value with as many decimals as ticks this far apart need; very small and very large ones as powers of ten.
fn tick_label(value: f64, step: f64) -> String {
    let decimals = -(step.log10() + 1e-9).floor();
    if value == 0.0 {
        "0".into()
    } else if decimals > 4.0 || value.abs() >= 1e7 {
        format!("{value:.1e}")
    } else if decimals <= 0.0 && value >= 0.0 {
        count(value.round() as u64)
    } else {
        format!("{value:.*}", decimals.max(0.0) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(low: f64, high: f64, least_step: f64) -> Axis {
        Axis { low, high, least_step, origin: 0.0, length: 100.0 }
    }

    fn labels(low: f64, high: f64, least_step: f64) -> Vec<String> {
        axis(low, high, least_step).ticks(6).into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(labels(0.0, 1.0, 0.0), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(0.97, 2.31, 0.0), ["1.0", "1.5", "2.0"]);
        assert_eq!(labels(-3.0, 3.0, 0.0), ["-3", "-2", "-1", "0", "1", "2", "3"]);
        assert_eq!(labels(0.5, 3.5, 1.0), ["1", "2", "3"]);
        assert_eq!(
            labels(0.0, 120_000.0, 1.0),
            ["0", "20,000", "40,000", "60,000", "80,000", "100,000", "120,000"]
        );
        assert_eq!(labels(0.0, 2.5e-5, 0.0)[..2], ["0", "5.0e-6"]);
        assert_eq!(labels(0.0, 3e9, 0.0)[1], "5.0e8");
    }

    #[test]
    fn ticks_are_few_for_any_range() {
        for exponent in -30..30 {
            for high in [1.0, 1.01, 2.7, 4.99, 9.999] {
                let scale = 10f64.powi(exponent);
                let ticks = axis(0.3 * scale, high * scale, 0.0).ticks(6);
                assert!((2..=7).contains(&ticks.len()), "{} ticks for {high}e{exponent}", ticks.len());
            }
        }
    }

    #[test]
    fn a_constant_and_an_empty_axis_have_a_range() {
        for values in [vec![], vec![0.0], vec![50.0, 50.0], vec![-1e-9], vec![1e30]] {
            let axis = Axis::new(values.iter().copied(), 0.05, 0.0, 0.0, 100.0);
            assert!(axis.low < axis.high, "{values:?}");
            for value in values {
                assert!((axis.pixel(value) - 50.0).abs() < 1e-3, "{value}");
            }
        }
    }
}
