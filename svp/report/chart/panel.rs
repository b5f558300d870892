//! What the curves of a run show, whoever draws it.

use crate::report::LrRange;
use crate::report::metrics::Record;

/// A line through points in the order given; a point that is not finite leaves a gap.
#[derive(Debug, Clone)]
pub struct Series {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// One pair of axes with its lines. Whole numbers are marked on the x axis.
#[derive(Debug, Clone)]
pub struct Panel {
    pub title: String,
    pub x_label: String,
    pub series: Vec<Series>,
}

impl Panel {
    /// The points of all series that can be drawn.
    pub fn finite_points(&self) -> impl Iterator<Item = (f64, f64)> {
        let points = self.series.iter().flat_map(|series| &series.points).copied();
        points.filter(|(x, y)| x.is_finite() && y.is_finite())
    }
}

/// Loss, and validation accuracy unless the epochs had none, over epochs; over steps until an epoch is finished.
pub fn run_panels(records: &[Record]) -> Vec<Panel> {
    let (mut steps, mut train, mut val, mut top1) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for record in records {
        match *record {
            Record::Step { step, loss, .. } => steps.push((step as f64, loss.into())),
            Record::Epoch { epoch, train_loss, val_loss, val_top1, .. } => {
                train.push((epoch as f64, train_loss.into()));
                val.extend(val_loss.map(|loss| (epoch as f64, loss.into())));
                top1.extend(val_top1.map(|top1| (epoch as f64, 100.0 * f64::from(top1))));
            }
            Record::Final { .. } => {}
        }
    }
    let validated = train.is_empty() || !top1.is_empty();
    let (x_label, train) = if train.is_empty() { ("step", steps) } else { ("epoch", train) };
    let best =
        top1.iter().copied().filter(|point| point.1.is_finite()).reduce(|a, b| if b.1 > a.1 { b } else { a });
    let accuracy = best.map_or("validation".into(), |(epoch, top1)| {
        format!("validation, best {top1:.1} % in epoch {epoch}")
    });
    let panel = |title: &str, series: Vec<(&str, Vec<(f64, f64)>)>| Panel {
        title: title.into(),
        x_label: x_label.into(),
        series: series.into_iter().map(|(name, points)| Series { name: name.into(), points }).collect(),
    };
    let mut panels = vec![panel("Loss", vec![("training", train), ("validation", val)])];
    if validated {
        panels.push(panel("Top-1 accuracy (%)", vec![(&accuracy, top1)]));
    }
    panels
}

/// The learning rate of each step.
pub fn rate_panel(records: &[Record]) -> Panel {
    let rate = |record: &Record| match *record {
        Record::Step { step, lr, .. } => Some((step as f64, lr.into())),
        _ => None,
    };
    let series = Series { name: "each step".into(), points: records.iter().filter_map(rate).collect() };
    Panel { title: "Learning rate".into(), x_label: "step".into(), series: vec![series] }
}

/// The losses of a range test over the logarithm of its rates.
pub fn range_panel(range: &LrRange) -> Panel {
    let over =
        |losses: &[f64]| range.rates.iter().map(|rate| rate.log10()).zip(losses.iter().copied()).collect();
    let losses: Vec<f64> = range.losses.iter().map(|&loss| loss.into()).collect();
    let series = |name: String, points| Series { name, points };
    Panel {
        title: "Range test of the learning rate".into(),
        x_label: "rate, as a power of ten".into(),
        series: vec![
            series("loss of each step".into(), over(&losses)),
            series(format!("smoothed; {:e} was chosen", range.lr), over(&range.smoothed())),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(epoch: u64, train_loss: f32, val_loss: f32, val_top1: f32) -> Record {
        let [val_loss, val_top1, val_top5] = [val_loss, val_top1, 1.0].map(Some);
        Record::Epoch { step: 10 * epoch, epoch, train_loss, val_loss, val_top1, val_top5, seconds: 1.0 }
    }

    #[test]
    fn a_run_is_shown_over_epochs_and_before_the_first_over_steps() {
        let step =
            |step| Record::Step { step, epoch: 1, loss: 2.0, lr: 0.1, images_per_s: 1.0, wait_share: 0.0 };
        let [loss, accuracy] = &run_panels(&[step(1), step(2)])[..] else { panic!("two panels") };
        assert_eq!(loss.x_label, "step");
        assert_eq!(loss.series[0].points, [(1.0, 2.0), (2.0, 2.0)]);
        assert!(accuracy.series[0].points.is_empty());

        let panels = run_panels(&[
            step(1),
            epoch(1, 2.0, 2.5, 0.5),
            epoch(2, 1.0, f32::NAN, 0.75),
            epoch(3, 0.5, 1.5, f32::NAN),
        ]);
        let [loss, accuracy] = &panels[..] else { panic!("two panels") };
        assert_eq!(loss.x_label, "epoch");
        assert_eq!(loss.series[0].points, [(1.0, 2.0), (2.0, 1.0), (3.0, 0.5)]);
        assert_eq!(loss.series[1].points[2], (3.0, 1.5));
        assert_eq!(accuracy.series[0].points[1], (2.0, 75.0));
        assert_eq!(accuracy.series[0].name, "validation, best 75.0 % in epoch 2");
    }

    #[test]
    fn epochs_without_validation_have_no_curve_of_it() {
        let epoch = |epoch| Record::Epoch {
            step: epoch,
            epoch,
            train_loss: 2.0,
            val_loss: None,
            val_top1: None,
            val_top5: None,
            seconds: 1.0,
        };
        let panels = run_panels(&[epoch(1), epoch(2)]);
        let [loss] = &panels[..] else { panic!("one panel") };
        assert_eq!(loss.series[0].points, [(1.0, 2.0), (2.0, 2.0)]);
        assert!(loss.series[1].points.is_empty());
    }
}
