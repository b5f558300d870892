use super::*;

const WHITE: Color = [255; 3];
const BLACK: Color = [0; 3];

/// Sum of what was painted black on white, in pixels.
fn ink(canvas: &Canvas) -> f32 {
    canvas.image.pixels().map(|pixel| 1.0 - f32::from(pixel.0[0]) / 255.0).sum()
}

#[test]
fn a_line_covers_its_area_at_any_angle() {
    for (x, y) in [(60.0, 10.0), (10.0, 60.0), (50.0, 40.0), (17.5, 55.2)] {
        let mut canvas = Canvas::new(80, 80, WHITE);
        canvas.line(&[(10.0, 10.0), (x, y)], 3.0, BLACK);
        // A rectangle with two half circles at its ends.
        let area = 3.0 * (x - 10.0).hypot(y - 10.0) + std::f32::consts::PI * 1.5 * 1.5;
        assert!((ink(&canvas) / area - 1.0).abs() < 0.03, "{} of {area} to {x}, {y}", ink(&canvas));
    }
}

#[test]
fn joints_are_not_painted_twice() {
    let ends = [(10.0, 10.0), (60.0, 33.0)];
    let middle = [(10.0, 10.0), (35.0, 21.5), (60.0, 33.0)];
    let [straight, jointed] = [&ends[..], &middle[..]].map(|points| {
        let mut canvas = Canvas::new(80, 80, WHITE);
        canvas.line(points, 2.0, BLACK);
        canvas.into_image()
    });
    assert_eq!(straight, jointed);
}

#[test]
fn what_leaves_the_picture_is_cut_off() {
    let mut canvas = Canvas::new(8, 8, WHITE);
    canvas.line(&[(-100.0, -100.0), (1e9, 1e9)], 2.0, BLACK);
    assert_eq!(canvas.image.get_pixel(4, 4).0, BLACK);
    canvas.text(6, 6, "cut off", BLACK);
    canvas.fill(7, 0, 100, 100, BLACK);
    assert_eq!(canvas.image.get_pixel(7, 3).0, BLACK);
}

#[test]
fn text_is_as_wide_and_as_high_as_said() {
    let mut canvas = Canvas::new(200, 40, WHITE);
    canvas.text(10, 10, "HHHH", BLACK);
    let inked = |x, y| canvas.image.get_pixel(x, y).0 != WHITE;
    let columns = (0..200).filter(|&x| (0..40).any(|y| inked(x, y)));
    let (first, last) = (columns.clone().min().unwrap(), columns.max().unwrap());
    let width = text_width("HHHH");
    assert!((10..13).contains(&first) && (10 + width - 3..10 + width).contains(&last), "{first} to {last}");
    let rows = (0..40).filter(|&y| (0..200).any(|x| inked(x, y)));
    // A faint row above, as capitals are a little higher than a whole number of pixels.
    assert_eq!((rows.clone().min(), rows.max()), (Some(9), Some(10 + TEXT_HEIGHT - 1)));
    assert_eq!(text_width(""), 0);
}

#[test]
fn letters_beyond_ascii_have_shapes_of_their_own() {
    let drawn = |c: &str| {
        let mut canvas = Canvas::new(30, 30, WHITE);
        canvas.text(5, 8, c, BLACK);
        canvas.into_image()
    };
    let pictures: Vec<_> = ["漢", "e", "é", "ñ", "Δ", "Ж", "…", " "].map(drawn).into();
    for (i, picture) in pictures.iter().enumerate() {
        assert!(pictures[..i].iter().all(|other| other != picture), "character {i}");
    }
    assert_eq!(drawn("漢"), drawn("字"), "what the font lacks is a box");
}

#[test]
fn only_text_too_wide_is_shortened() {
    let width = text_width("long name");
    assert_eq!(shortened("long name", width), "long name");
    let short = shortened("long name", width - 1);
    assert!(short.starts_with("long n") && short.ends_with('…') && text_width(&short) < width, "{short}");
    assert_eq!(shortened("two words", text_width("two …")), "two…", "no space before the ellipsis");
    assert_eq!(shortened("two words", 0), "…");
}

/// Names of files, classes and methods come from outside; what steers a terminal in them is drawn as it is written
/// elsewhere, and nothing in them breaks out of their line.
#[test]
fn hostile_text_is_drawn_as_it_is_shown() {
    let hostile = "a\u{1b}[31m\nb\u{202e}\u{2028}";
    let shown = "a\\u{1b}[31m\\nb\\u{202e}\\u{2028}";
    let drawn = |text: &str| {
        let mut canvas = Canvas::new(400, 30, WHITE);
        canvas.text(5, 8, text, BLACK);
        canvas.into_image()
    };
    assert_eq!(drawn(hostile), drawn(shown));
    assert_eq!(text_width(hostile), text_width(shown));
    assert_eq!(shortened(hostile, 1000), shown);
    assert_eq!(shortened(hostile, 60), shortened(shown, 60));
    assert!(text_width(&shortened(hostile, 60)) <= 60);
}
