use image::ImageFormat;

use super::*;

fn axis(low: f64, high: f64, least_step: f64) -> Axis {
    Axis { low, high, least_step, origin: 0.0, length: 100.0 }
}

fn labels(low: f64, high: f64, least_step: f64) -> Vec<String> {
    axis(low, high, least_step).ticks(6).into_iter().map(|(_, label)| label).collect()
}

fn panel(series: &[&[(f64, f64)]]) -> Panel {
    let series = series.iter().map(|points| Series { name: "a".into(), points: points.to_vec() }).collect();
    Panel { title: "t".into(), x_label: "x".into(), series }
}

/// Pixels of exactly the colour of series `i` inside of the axes of the first panel.
fn pixels(image: &RgbImage, i: usize) -> Vec<(u32, u32)> {
    let inside = |x, y| (LEFT + 1..WIDTH - RIGHT).contains(&x) && (TOP..HEIGHT - BOTTOM).contains(&y);
    let pixels = image.enumerate_pixels().filter(|&(x, y, pixel)| inside(x, y) && pixel.0 == COLORS[i]);
    pixels.map(|(x, y, _)| (x, y)).collect()
}

fn epoch(epoch: u64, train_loss: f32, val_loss: f32, val_top1: f32) -> Record {
    Record::Epoch { step: 10 * epoch, epoch, train_loss, val_loss, val_top1, val_top5: 1.0, seconds: 1.0 }
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
            assert!((2..=7).contains(&ticks.len()), "{} marks for {high}e{exponent}", ticks.len());
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

#[test]
fn a_rising_line_rises_from_corner_to_corner() {
    let image = draw(&[panel(&[&[(1.0, 0.0), (50.0, 1.0)]])]);
    let pixels = pixels(&image, 0);
    let (left, right) = (pixels.iter().min().unwrap(), pixels.iter().max().unwrap());
    assert!(left.0 < LEFT + 20 && left.1 > HEIGHT - BOTTOM - 40, "{left:?}");
    assert!(right.0 > WIDTH - RIGHT - 20 && right.1 < TOP + 40, "{right:?}");
}

#[test]
fn each_series_has_its_colour_and_the_ninth_the_first_again() {
    let lines: Vec<_> = (0..9).map(|i| vec![(0.0, f64::from(i)), (1.0, f64::from(i))]).collect();
    let image = draw(&[panel(&lines.iter().map(Vec::as_slice).collect::<Vec<_>>())]);
    for i in 0..COLORS.len() {
        assert!(pixels(&image, i).len() > 100, "series {i}");
    }
    assert!(pixels(&image, 0).len() > pixels(&image, 1).len() * 3 / 2);
}

#[test]
fn a_gap_stays_open() {
    let mut points: Vec<_> = (0..=100).map(|i| (f64::from(i), 1.0)).collect();
    for (i, hole) in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY].into_iter().enumerate() {
        for point in &mut points[40 + 7 * i..47 + 7 * i] {
            point.1 = hole;
        }
    }
    let image = draw(&[panel(&[&points])]);
    let x = Axis::new([0.0, 100.0].into_iter(), 0.02, 1.0, LEFT as f32, (WIDTH - LEFT - RIGHT) as f32);
    let inside =
        |&(column, _): &(u32, u32)| (column as f32) > x.pixel(39.6) && (column as f32) < x.pixel(60.4);
    assert_eq!(pixels(&image, 0).iter().filter(|pixel| inside(pixel)).count(), 0);
    assert!(pixels(&image, 0).len() > 500);
}

#[test]
fn odd_inputs_give_a_picture() {
    let long: Vec<_> = (0..20_000).map(|i| (f64::from(i), f64::from(i).sin())).collect();
    let cases: [&[&[(f64, f64)]]; 7] = [
        &[],
        &[&[]],
        &[&[(1.0, 2.0)]],
        &[&[(1.0, f64::NAN)]],
        &[&[(1.0, 3.0), (1.0, 3.0)]],
        &[&[(1.0, -1e38), (2.0, 1e38)], &[]],
        &[&long],
    ];
    for series in cases {
        let image = draw(&[panel(series)]);
        assert_eq!(image.dimensions(), (WIDTH, HEIGHT));
        let shown = series.iter().any(|points| points.iter().any(|point| point.1.is_finite()));
        assert_eq!(!pixels(&image, 0).is_empty(), shown, "{} series", series.len());
    }
}

#[test]
fn a_run_is_shown_over_epochs_and_before_the_first_over_steps() {
    let step = |step| Record::Step { step, epoch: 1, loss: 2.0, lr: 0.1, images_per_s: 1.0, wait_share: 0.0 };
    let [loss, accuracy] = run_panels(&[step(1), step(2)]);
    assert_eq!(loss.x_label, "step");
    assert_eq!(loss.series[0].points, [(1.0, 2.0), (2.0, 2.0)]);
    assert!(accuracy.series[0].points.is_empty());

    let [loss, accuracy] = run_panels(&[
        step(1),
        epoch(1, 2.0, 2.5, 0.5),
        epoch(2, 1.0, f32::NAN, 0.75),
        epoch(3, 0.5, 1.5, f32::NAN),
    ]);
    assert_eq!(loss.x_label, "epoch");
    assert_eq!(loss.series[0].points, [(1.0, 2.0), (2.0, 1.0), (3.0, 0.5)]);
    assert_eq!(loss.series[1].points[2], (3.0, 1.5));
    assert_eq!(accuracy.series[0].points[1], (2.0, 75.0));
    assert_eq!(accuracy.series[0].name, "validation, best 75.0 % in epoch 2");
}

#[test]
fn the_png_is_the_picture() {
    let records = [epoch(1, 2.0, 2.5, 0.5), epoch(2, 1.0, 2.0, 0.75)];
    let decoded = image::load_from_memory_with_format(&curves(&records), ImageFormat::Png).unwrap();
    assert_eq!(decoded.into_rgb8(), draw(&run_panels(&records)));
}
