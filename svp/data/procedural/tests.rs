use super::*;
use crate::dataset::Dataset;

fn pictures(task: Task, count: u32) -> Vec<(u32, RgbImage)> {
    let classes = task.classes().len() as u32;
    (0..count).map(|index| (index % classes, Drawn { task, split: 0, index, size: SIZE }.draw())).collect()
}

/// The share of the variance of a measure that lies between the classes.
fn told_by(task: Task, measure: impl Fn(&RgbImage) -> f64) -> f64 {
    let measured: Vec<(u32, f64)> =
        pictures(task, 1600).iter().map(|(label, image)| (*label, measure(image))).collect();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let all = mean(&measured.iter().map(|(_, v)| *v).collect::<Vec<_>>());
    let total: f64 = measured.iter().map(|(_, v)| (v - all).powi(2)).sum();
    let between: f64 = (0..task.classes().len() as u32)
        .map(|class| {
            let own: Vec<f64> =
                measured.iter().filter(|(label, _)| *label == class).map(|(_, v)| *v).collect();
            own.len() as f64 * (mean(&own) - all).powi(2)
        })
        .sum();
    between / total
}

/// The number of pixels that differ clearly from the corners, which nearly always show the background.
fn covered(image: &RgbImage) -> f64 {
    let far = SIZE - 1;
    let corners =
        [(0, 0), (far, 0), (0, far), (far, far)].map(|(x, y)| image.get_pixel(x, y).0.map(f64::from));
    let ground: [f64; 3] = std::array::from_fn(|c| corners.iter().map(|p| p[c]).sum::<f64>() / 4.0);
    let apart =
        |p: &image::Rgb<u8>| (0..3).map(|c| (f64::from(p.0[c]) - ground[c]).powi(2)).sum::<f64>() > 6400.0;
    image.pixels().filter(|p| apart(p)).count() as f64
}

#[test]
fn no_mean_colour_tells_the_label() {
    for task in [Task::Count, Task::Orientation, Task::Position] {
        for channel in 0..3 {
            let share = told_by(task, |image| image.pixels().map(|p| f64::from(p.0[channel])).sum());
            // By chance it is (classes - 1) / samples, which is below 0.01, with a spread of about 0.003.
            assert!(share < 0.03, "{} {channel}: {share}", task.name());
        }
    }
}

#[test]
fn total_area_hardly_tells_the_count() {
    let share = told_by(Task::Count, covered);
    assert!(share < 0.15, "{share}");
}

#[test]
fn pictures_are_a_function_of_task_split_and_index() {
    for task in Task::ALL {
        let drawn = Drawn { task, split: 1, index: 17, size: SIZE };
        assert_eq!(drawn.draw(), drawn.draw());
        assert_ne!(drawn.draw(), Drawn { split: 2, ..drawn }.draw());
        assert_ne!(drawn.draw(), Drawn { index: 17 + 400, ..drawn }.draw());
        assert_eq!(Drawn { size: 48, ..drawn }.draw().dimensions(), (48, 48));
    }
}

#[test]
fn built_in_sets_are_balanced_and_sized_like_vtab() {
    for task in Task::ALL {
        let data = Dataset::builtin(task.name()).unwrap();
        let [val, test] = [&data.val, &data.test].map(|split| split.as_ref().unwrap());
        if task != Task::Shapes {
            assert_eq!([data.train.len(), val.len(), test.len()], [800, 200, 1000]);
        }
        for split in [&data.train, val, test] {
            let mut counts = vec![0usize; data.classes.len()];
            split.iter().for_each(|sample| counts[sample.label as usize] += 1);
            assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
        }
        assert_eq!(data.train[3].source.load().unwrap().dimensions(), (32, 32));
    }
    assert!(
        Dataset::builtin("cats").unwrap_err().to_string().contains("count, orientation, position, shapes")
    );
}
