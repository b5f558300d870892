use image::{ImageFormat, RgbImage};

use super::bars::{BAR, LENGTH, PITCH};
use super::curves::{HEIGHT, LEFT, WIDTH};
use super::frame::Frame;
use super::style::{GAP, GRID, INK, LINE, MARGIN, SOFT, WHITE, color};
use super::*;
use crate::report::Record;
use crate::report::canvas::{Canvas, Color, TEXT_HEIGHT, text_width};

fn mark(mean: f64) -> Mark {
    Mark { mean, deviation: None, published: None }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| name.to_string()).collect()
}

/// A row for each list of marks, with a name of its number.
fn rows(marks: &[&[Option<Mark>]]) -> Vec<(String, Vec<Option<Mark>>)> {
    marks.iter().enumerate().map(|(i, marks)| (format!("row {i}"), marks.to_vec())).collect()
}

/// Draws bars of as many series as the longest row has.
fn draw_bars(marks: &[&[Option<Mark>]]) -> (RgbImage, bars::Layout) {
    let count = marks.iter().map(|row| row.len()).max().unwrap_or(0);
    let (series, rows) = (vec!["a".into(); count], rows(marks));
    let bars = Bars { title: "t", series: &series, rows: &rows };
    (bars::draw(&bars).into_image(), bars::Layout::new(&bars))
}

fn draw_lines(xs: &[f64], marks: &[&[Option<Mark>]]) -> (RgbImage, lines::Layout) {
    let lines = Lines { title: "t", x_label: "x", xs, series: &rows(marks) };
    (lines::draw(&lines).into_image(), lines::Layout::new(&lines))
}

/// Pixels of a colour inside of the axes, and right of them.
fn pixels(image: &RgbImage, frame: &Frame, color: Color) -> Vec<(u32, u32)> {
    let inside = |x: u32, y: u32| x >= frame.left && (frame.top..frame.bottom()).contains(&y);
    let pixels = image.enumerate_pixels().filter(|&(x, y, pixel)| inside(x, y) && pixel.0 == color);
    pixels.map(|(x, y, _)| (x, y)).collect()
}

fn bar_pixels(image: &RgbImage, layout: &bars::Layout, color: Color) -> Vec<(u32, u32)> {
    pixels(image, &layout.frame, color)
}

fn line_pixels(image: &RgbImage, layout: &lines::Layout, series: usize) -> Vec<(u32, u32)> {
    pixels(image, &layout.frame, color(series))
}

/// Smallest and largest, plus one.
fn span(values: impl Iterator<Item = u32> + Clone) -> (u32, u32) {
    (values.clone().min().unwrap(), values.max().unwrap() + 1)
}

#[test]
fn a_bar_is_as_long_as_its_value() {
    let (image, layout) = draw_bars(&[
        &[Some(mark(20.0)), Some(mark(87.5))],
        &[Some(mark(40.0)), Some(mark(0.0))],
        &[Some(mark(100.0))],
    ]);
    let area = |percent: u32| (BAR * LENGTH * percent / 100) as usize;
    assert_eq!(bar_pixels(&image, &layout, color(0)).len(), area(20) + area(40) + area(100));
    let second = bar_pixels(&image, &layout, color(1));
    assert_eq!(second.len(), (BAR * LENGTH * 875 / 1000) as usize);
    let y = layout.bar(0, 1);
    assert_eq!(span(second.iter().map(|pixel| pixel.1)), (y - BAR / 2, y + BAR / 2));
    assert_eq!(
        span(second.iter().map(|pixel| pixel.0)),
        (layout.frame.left, layout.frame.left + LENGTH * 875 / 1000)
    );
}

#[test]
fn the_whisker_of_a_bar_reaches_as_far_as_the_deviation() {
    let (image, layout) = draw_bars(&[&[Some(Mark { deviation: Some(10.0), ..mark(50.0) })]]);
    let y = layout.bar(0, 0);
    // Ink in the middle of the bar, up to where the number begins.
    let line = (layout.frame.left..layout.column(60.0) + GAP).filter(|&x| image.get_pixel(x, y).0 == INK);
    assert_eq!(span(line.clone()), (layout.column(40.0) - 1, layout.column(60.0) + 1));
    assert_eq!(line.count() as u32, LENGTH / 5 + 2);
    for end in [40.0, 60.0] {
        let cap = (y - PITCH / 2..y + PITCH / 2).filter(|&y| image.get_pixel(layout.column(end), y).0 == INK);
        assert_eq!(span(cap), (y - 4, y + 4), "at {end}");
    }
    let rows = span(bar_pixels(&image, &layout, color(0)).iter().map(|pixel| pixel.1));
    assert_eq!(rows, (y - BAR / 2, y + BAR / 2), "the colour is still seen around it");
}

#[test]
fn a_tick_stands_at_the_published_value_of_a_bar() {
    let (plain, layout) = draw_bars(&[&[Some(mark(50.0))]]);
    let number = bar_pixels(&plain, &layout, INK).len();
    for published in [12.0, 50.5, 52.0, 55.0, 58.0, 60.0, 61.0, 62.0, 90.0, 100.0] {
        let (image, layout) = draw_bars(&[&[Some(Mark { published: Some(published), ..mark(50.0) })]]);
        // Above the number and the bar there is ink of the tick alone.
        let y = layout.bar(0, 0) - PITCH / 2 + 1;
        let tick = (layout.frame.left..image.width()).filter(|&x| image.get_pixel(x, y).0 == INK);
        let column = layout.column(published);
        assert_eq!(span(tick), (column - 2, column + 2), "{published}");
        // Nothing of the number is hidden.
        let ink = bar_pixels(&image, &layout, INK).len();
        assert_eq!(ink, number + 4 * (PITCH as usize - 2), "{published}");
    }
}

#[test]
fn a_missing_mark_draws_no_bar_and_keeps_its_place() {
    let nothing = [None, Some(mark(f64::NAN)), Some(mark(f64::INFINITY)), Some(mark(f64::NEG_INFINITY))];
    for missing in nothing {
        let missing = missing.map(|mark| Mark { deviation: Some(1.0), published: Some(50.0), ..mark });
        let (image, layout) = draw_bars(&[&[Some(mark(50.0)), missing, Some(mark(60.0))]]);
        assert!(bar_pixels(&image, &layout, color(1)).is_empty());
        let y = layout.bar(0, 1);
        let empty = |x| (y - BAR / 2..y + BAR / 2).all(|y| [WHITE, GRID].contains(&image.get_pixel(x, y).0));
        let dash = span((layout.frame.left..image.width()).filter(|&x| !empty(x)));
        let left = layout.frame.left + 8;
        assert!(dash.0 >= left && dash.1 <= left + text_width("-"), "{dash:?}");
        let third = bar_pixels(&image, &layout, color(2));
        assert_eq!(span(third.iter().map(|pixel| pixel.1)).0, y + PITCH - BAR / 2);
    }
}

#[test]
fn a_deviation_or_published_value_without_meaning_is_left_out() {
    let (plain, _) = draw_bars(&[&[Some(mark(50.0))]]);
    for nothing in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let odd = Mark { deviation: Some(nothing), published: Some(nothing), ..mark(50.0) };
        assert_eq!(draw_bars(&[&[Some(odd)]]).0, plain, "{nothing}");
    }
    assert_eq!(draw_bars(&[&[Some(Mark { deviation: Some(-1.0), ..mark(50.0) })]]).0, plain);
    assert_ne!(draw_bars(&[&[Some(Mark { deviation: Some(1.0), ..mark(50.0) })]]).0, plain);
}

#[test]
fn the_legend_tells_of_whiskers_and_ticks_only_where_there_are_some() {
    // Below the title, in the rows of the first line of the legend.
    let legend = |marks: Mark| {
        let (image, _) = draw_bars(&[&[Some(marks)]]);
        (0..image.width())
            .rfind(|&x| (MARGIN + LINE..MARGIN + 2 * LINE).any(|y| image.get_pixel(x, y).0 == INK))
    };
    let plain = legend(mark(50.0));
    let deviation = legend(Mark { deviation: Some(1.0), ..mark(50.0) });
    let published = legend(Mark { published: Some(50.0), ..mark(50.0) });
    assert!(plain < published && published < deviation, "{plain:?} {published:?} {deviation:?}");
}

#[test]
fn the_mark_of_a_line_stands_at_its_value() {
    let (image, layout) = draw_lines(&[1.0, 2.0], &[&[Some(mark(50.0)), None], &[None, Some(mark(70.0))]]);
    for (series, value, mean) in [(0, 0, 50.0), (1, 1, 70.0)] {
        let pixels = line_pixels(&image, &layout, series);
        let (x, y) = (span(pixels.iter().map(|pixel| pixel.0)), span(pixels.iter().map(|pixel| pixel.1)));
        assert_eq!((x.0 + x.1) / 2, layout.column(value, series));
        assert_eq!((y.0 + y.1) / 2, layout.row(mean));
        assert!(x.1 - x.0 <= 12 && y.1 - y.0 <= 12, "no line: {x:?} {y:?}");
    }
    assert!(layout.row(70.0) + 250 < layout.row(50.0), "the axis is of the values, not from 0");
    assert!(layout.row(70.0) > layout.frame.top && layout.row(50.0) < layout.frame.bottom());
}

#[test]
fn the_whisker_of_a_line_reaches_as_far_as_the_deviation() {
    let with = Mark { deviation: Some(4.0), ..mark(80.0) };
    let (image, layout) = draw_lines(&[1.0, 2.0], &[&[Some(with)], &[None, Some(mark(60.0))]]);
    let rows = span(line_pixels(&image, &layout, 0).iter().map(|pixel| pixel.1));
    assert_eq!(rows, (layout.row(84.0) - 1, layout.row(76.0) + 1));
}

#[test]
fn a_published_value_of_a_line_is_hollow() {
    let with = Mark { published: Some(60.0), ..mark(80.0) };
    for series in 0..3 {
        let mut marks: Vec<&[Option<Mark>]> = vec![&[]; series];
        let shown = [Some(with)];
        marks.push(&shown);
        let (image, layout) = draw_lines(&[1.0], &marks);
        let x = layout.column(0, series);
        assert_eq!(image.get_pixel(x, layout.row(80.0)).0, color(series));
        assert_eq!(image.get_pixel(x, layout.row(60.0)).0, [255; 3]);
        let ring =
            line_pixels(&image, &layout, series).into_iter().filter(|pixel| pixel.1 > layout.row(70.0));
        let rows = span(ring.map(|pixel| pixel.1).collect::<Vec<_>>().into_iter());
        assert_eq!((rows.0 + rows.1) / 2, layout.row(60.0));
    }
}

#[test]
fn a_line_has_a_gap_where_a_mark_is_missing() {
    let at = |mean| Some(mark(mean));
    let xs = [1.0, 2.0, 3.0, 4.0, 6.0];
    let whole = [at(50.0); 5];
    for missing in [None, at(f64::NAN), at(f64::INFINITY)] {
        let gap = [at(50.0), at(50.0), missing, at(50.0), at(50.0)];
        for (marks, joined) in [(whole, true), (gap, false)] {
            let (image, layout) = draw_lines(&xs, &[&marks]);
            let line = |from, to| {
                let between = layout.column(from, 0) + 10..layout.column(to, 0) - 10;
                line_pixels(&image, &layout, 0).iter().any(|pixel| between.contains(&pixel.0))
            };
            assert_eq!(line(1, 3), joined);
            assert!(line(0, 1) && line(3, 4));
        }
    }
}

#[test]
fn without_results_there_is_a_picture_that_says_so() {
    let one = names(&["a"]);
    let missing = [("a".to_string(), vec![None, Some(mark(f64::NAN))])];
    let pictures = [
        bars::draw(&Bars { title: "title", series: &one, rows: &[] }),
        bars::draw(&Bars { title: "title", series: &[], rows: &missing }),
        bars::draw(&Bars { title: "", series: &[], rows: &[] }),
        lines::draw(&Lines { title: "title", x_label: "x", xs: &[1.0, 2.0, 3.0], series: &[] }),
        lines::draw(&Lines { title: "title", x_label: "x", xs: &[1.0, 2.0, 3.0], series: &missing }),
        lines::draw(&Lines { title: "title", x_label: "x", xs: &[], series: &missing }),
    ];
    let mut words = Canvas::new(text_width("no results yet"), TEXT_HEIGHT, [255; 3]);
    words.text(0, 0, "no results yet", SOFT);
    let words = words.into_image();
    for (i, picture) in pictures.into_iter().map(Canvas::into_image).enumerate() {
        let (width, height) = (picture.width() - words.width(), picture.height() - words.height());
        let said = (0..height).any(|y| {
            (0..width).any(|x| {
                words.enumerate_pixels().all(|(i, j, pixel)| picture.get_pixel(x + i, y + j) == pixel)
            })
        });
        assert!(said, "picture {i}");
    }
}

#[test]
fn many_rows_and_long_names_have_their_room() {
    let long = "a name that is much longer than any task or method should have";
    let series = vec![long.to_string(); 9];
    let with = |mean| Some(Mark { mean, deviation: Some(3.0), published: Some(99.0) });
    let rows =
        vec![
            (long.to_string(), vec![with(1.0), with(99.9), None, with(1e300), with(-1e300), with(50.0)]);
            25
        ];
    let bars = Bars { title: long, series: &series, rows: &rows };
    let picture = image::load_from_memory(&super::bars(&bars)).unwrap().into_rgb8();
    let layout = bars::Layout::new(&bars);
    assert!(
        picture.height() > layout.frame.bottom() && layout.frame.bottom() - layout.frame.top > 25 * 9 * PITCH
    );
    assert!(edges_are_white(&picture), "nothing is cut off");

    let xs: Vec<_> = (0..12).map(|i| 1e5 + f64::from(i) / 3.0).collect();
    let all: Vec<_> = series.iter().map(|name| (name.clone(), rows[0].1.repeat(2))).collect();
    let lines = Lines { title: &long.repeat(4), x_label: &long.repeat(30), xs: &xs, series: &all };
    let picture = image::load_from_memory(&super::lines(&lines)).unwrap().into_rgb8();
    assert!(edges_are_white(&picture), "nothing is cut off");
}

/// Titles, methods and tasks of a sweep come from its file, names under pictures from files on disk.
#[test]
fn charts_with_hostile_names_are_those_with_the_names_as_shown() {
    let picture = |name: &str| {
        let marks = vec![Some(mark(50.0))];
        let (series, rows) = ([name.to_string()], [(name.to_string(), marks)]);
        let of_bars = bars(&Bars { title: name, series: &series, rows: &rows });
        let of_lines = lines(&Lines { title: name, x_label: name, xs: &[1.0], series: &rows });
        let line = heat_map::Line { name: name.into(), maps: vec![vec![vec![Some(1.0)]]] };
        let row = heat_map::Row { name: name.into(), picture: RgbImage::new(2, 2), lines: vec![line] };
        let group = heat_map::Group { name: name.into(), columns: vec![name.into()] };
        [of_bars, of_lines, heat_maps(&[group], &[row])]
    };
    let odd = picture("rose\u{1b}]0;x\u{7}\n\u{202e}<b>");
    assert_eq!(odd, picture("rose\\u{1b}]0;x\\u{7}\\n\\u{202e}<b>"));
    assert_ne!(odd, picture("rose]0;x<b>"));
}

fn edges_are_white(picture: &RgbImage) -> bool {
    let (width, height) = picture.dimensions();
    let inside = |x: u32, y: u32| (8..width - 8).contains(&x) && (8..height - 8).contains(&y);
    picture.enumerate_pixels().all(|(x, y, pixel)| inside(x, y) || pixel.0 == [255; 3])
}

#[test]
fn the_png_is_the_picture_and_always_the_same() {
    let marks =
        vec![Some(Mark { mean: 71.3, deviation: Some(0.5), published: Some(70.0) }), Some(mark(64.0))];
    let (series, rows) = (names(&["VPT", "linear"]), [("cifar100".to_string(), marks)]);
    let bars = Bars { title: "t", series: &series, rows: &rows };
    let lines = Lines { title: "t", x_label: "depth", xs: &[1.0, 12.0], series: &rows };
    for (bytes, again, picture) in [
        (super::bars(&bars), super::bars(&bars), bars::draw(&bars).into_image()),
        (super::lines(&lines), super::lines(&lines), lines::draw(&lines).into_image()),
    ] {
        assert_eq!(bytes, again);
        let decoded = image::load_from_memory_with_format(&bytes, ImageFormat::Png).unwrap();
        assert_eq!(decoded.into_rgb8(), picture);
    }
    // A row more is a group more.
    let two = [rows[0].clone(), rows[0].clone()];
    let height = |bars: &Bars| bars::draw(bars).into_image().height();
    assert!(height(&Bars { rows: &two, ..bars }) - height(&bars) > 2 * PITCH);
}

/// Draws one panel with these lines, and says where its axes are.
fn draw_curves(series: &[&[(f64, f64)]]) -> (RgbImage, Frame) {
    let series = series.iter().map(|points| Series { name: "a".into(), points: points.to_vec() }).collect();
    let image = curves::draw(&[Panel { title: "t".into(), x_label: "x".into(), series }]).into_image();
    let top = image.height() - Frame::BELOW - HEIGHT;
    (image, Frame { left: LEFT, top, width: WIDTH, height: HEIGHT })
}

fn epoch(epoch: u64, val_top1: f32) -> Record {
    let [val_loss, val_top1, val_top5] = [2.5, val_top1, 1.0].map(Some);
    Record::Epoch { step: 10 * epoch, epoch, train_loss: 2.0, val_loss, val_top1, val_top5, seconds: 1.0 }
}

#[test]
fn a_rising_curve_rises_from_corner_to_corner() {
    let (image, frame) = draw_curves(&[&[(1.0, 0.0), (50.0, 1.0)]]);
    let pixels = pixels(&image, &frame, color(0));
    let (left, right) = (pixels.iter().min().unwrap(), pixels.iter().max().unwrap());
    assert!(left.0 < LEFT + 20 && left.1 > frame.bottom() - 40, "{left:?}");
    assert!(right.0 > LEFT + WIDTH - 20 && right.1 < frame.top + 40, "{right:?}");
}

#[test]
fn each_curve_has_its_colour_and_the_ninth_the_first_again() {
    let lines: Vec<_> = (0..9).map(|i| vec![(0.0, f64::from(i)), (1.0, f64::from(i))]).collect();
    let (image, frame) = draw_curves(&lines.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let counts: Vec<usize> = (0..8).map(|i| pixels(&image, &frame, color(i)).len()).collect();
    assert!(counts.iter().all(|&count| count > 100), "{counts:?}");
    assert!(counts[0] > counts[1] * 3 / 2, "{counts:?}");
}

#[test]
fn a_gap_in_a_curve_stays_open() {
    let mut points: Vec<_> = (0..=100).map(|i| (f64::from(i), 1.0)).collect();
    for (i, hole) in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY].into_iter().enumerate() {
        for point in &mut points[40 + 7 * i..47 + 7 * i] {
            point.1 = hole;
        }
    }
    let (image, frame) = draw_curves(&[&points]);
    let x = Axis::new([0.0, 100.0].into_iter(), 0.02, 1.0, LEFT as f32, WIDTH as f32);
    let inside =
        |&(column, _): &(u32, u32)| (column as f32) > x.pixel(39.6) && (column as f32) < x.pixel(60.4);
    let pixels = pixels(&image, &frame, color(0));
    assert_eq!(pixels.iter().filter(|pixel| inside(pixel)).count(), 0);
    assert!(pixels.len() > 500);
}

#[test]
fn odd_curves_have_a_picture() {
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
        let (image, frame) = draw_curves(series);
        assert_eq!(image.width(), draw_curves(&[]).0.width());
        let shown = series.iter().any(|points| points.iter().any(|point| point.1.is_finite()));
        assert_eq!(!pixels(&image, &frame, color(0)).is_empty(), shown, "{} series", series.len());
    }
}

#[test]
fn the_curves_of_a_run_are_two_panels() {
    let records = [epoch(1, 0.5), epoch(2, 0.75)];
    let decoded = image::load_from_memory_with_format(&curves(&records), ImageFormat::Png).unwrap();
    assert_eq!(decoded.into_rgb8(), curves::draw(&run_panels(&records)).into_image());
}
