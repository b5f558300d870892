use image::RgbImage;

use super::*;

fn names(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("class {i}")).collect()
}

/// Class i of n is right twice and taken for the next one once.
fn confusion(n: u32) -> Confusion {
    let mut confusion = Confusion::default();
    for class in 0..n {
        [class, class, (class + 1) % n].into_iter().for_each(|said| confusion.add(class, said));
    }
    confusion
}

fn page(classes: Vec<String>) -> RunPage {
    let step = |step: u64| Record::Step {
        step,
        epoch: 1,
        loss: 1.0 / step as f32,
        lr: 0.01,
        images_per_s: 9.0,
        wait_share: 0.1,
    };
    let epoch = |epoch: u64| Record::Epoch {
        step: 10 * epoch,
        epoch,
        train_loss: 1.5,
        val_loss: Some(if epoch == 2 { f32::NAN } else { 2.0 }),
        val_top1: Some(0.5),
        val_top5: Some(0.9),
        seconds: 2.0,
    };
    let mistake =
        |picture| Mistake { name: "a&b.png".into(), picture, truth: 0, said: 1, probability: 0.987 };
    RunPage {
        title: "run <1>".into(),
        lead: "A & B".into(),
        tiles: vec![("top-1".into(), "66.7 %".into())],
        range: None,
        records: (1..=1000).map(step).chain((1..=3).map(epoch)).collect(),
        measured_on: "Measured".into(),
        confusion: confusion(classes.len() as u32),
        classes,
        mistakes: vec![mistake(RgbImage::new(32, 32)), mistake(RgbImage::new(700, 10))],
        sections: vec![Section {
            heading: "Prompts".into(),
            text: "Scales & more".into(),
            figures: vec![
                Figure::Bars {
                    title: "Mean size".into(),
                    names: vec!["beta".into(), "alpha".into()],
                    layers: vec![vec![0.375, 0.5], vec![0.0, 0.5]],
                },
                Figure::Strip { title: "beta".into(), layers: vec![vec![0.5, -0.25], vec![0.0, 0.0]] },
                Figure::Strip { title: "alpha".into(), layers: vec![vec![0.0, 1.0], vec![0.0, 1.0]] },
            ],
        }],
        parameters: vec![("head".into(), 10, 10), ("backbone".into(), 0, 1_234_567)],
        timing: vec![("an epoch".into(), "2.0 s".into())],
        config: vec![("data".into(), "C:\\<data>".into())],
    }
}

/// The elements of a page, each closed where it must be.
fn check_markup(page: &str) {
    let body = &page[page.find("<html").unwrap()..page.find("<script>").unwrap()];
    let mut open = vec![];
    for part in body.split('<').skip(1) {
        let (tag, _) = part.split_once('>').unwrap_or_else(|| panic!("`<{part}` is no tag"));
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "closed by </{name}>");
        } else if !tag.ends_with('/') && !["meta", "img", "br"].contains(&name) {
            open.push(name);
        }
    }
    assert_eq!(open, ["html", "body"]);
}

#[test]
fn a_page_is_whole_and_asks_for_nothing() {
    let html = page(names(3)).render();
    check_markup(&html);
    for part in ["Loss", "Top-1 accuracy", "Learning rate", "Confusion matrix", "1,234,577", "beta", "alpha"]
    {
        assert!(html.contains(part), "`{part}` is not in the page");
    }
    for outside in ["http://", "https://", "src=\"/", "url(", "@import", "<link", "NaN"] {
        assert!(!html.contains(outside), "`{outside}` is in the page");
    }
    assert_eq!(html.matches("data:image/png").count(), 1 + 2, "a small mistake, two strips of scales");
    assert_eq!(html.matches("data:image/jpeg").count(), 1);
}

#[test]
fn names_cannot_break_out_of_the_page() {
    let evil = "</td><script>alert(\"1\")</script>'";
    let classes = vec![evil.to_string(), "b".into()];
    let page = RunPage { title: evil.into(), lead: evil.into(), ..page(classes) };
    let html = RunPage { config: vec![(evil.into(), evil.into())], ..page }.render();
    check_markup(&html);
    assert_eq!(html.matches("<script>").count(), 1);
    assert!(!html.contains("alert(\""));
}

#[test]
fn many_classes_are_a_picture_and_few_a_table() {
    let (few, many) = (page(names(25)).render(), page(names(300)).render());
    [&few, &many].into_iter().for_each(|html| check_markup(html));
    assert!(few.contains("table class=\"confusion\"") && !few.contains("class=\"matrix\""));
    assert!(many.contains("class=\"matrix\"") && !many.contains("table class=\"confusion\""));
    assert_eq!(many.matches("<th scope=\"row\">class ").count(), 300, "every class has its row");
    assert!(many.len() < 150_000, "{} bytes", many.len());
    let most = confusion::matrix(&confusion(4000), &names(4000));
    let picture = most.split_once("base64,").unwrap().1.split('"').next().unwrap();
    assert!(
        picture.starts_with("iVBORw0KGgoAAAANSUhEUgAAA+gAAAPo"),
        "a PNG of 1000x1000: {}",
        &picture[..40]
    );
}

#[test]
fn long_runs_are_thinned() {
    let step = |step| Record::Step { step, epoch: 1, loss: 1.0, lr: 0.1, images_per_s: 1.0, wait_share: 0.0 };
    let chart = svg::lines(&rate_panel(&(1..=100_000).map(step).collect::<Vec<_>>()));
    let points = chart.split_once("points=\"").unwrap().1.split('"').next().unwrap();
    let points: Vec<&str> = points.split(' ').collect();
    assert!((300..=401).contains(&points.len()), "{} points", points.len());
    assert!(!chart.contains("<circle"));
}

#[test]
fn a_run_without_anything_to_show_says_so() {
    let empty = RunPage { records: vec![], mistakes: vec![], sections: vec![], ..page(names(2)) };
    let mut confusion = Confusion::default();
    confusion.add(1, 1);
    let html = RunPage { confusion, ..empty }.render();
    check_markup(&html);
    assert_eq!(html.matches("nothing to show yet").count(), 3);
    assert_eq!(html.matches("No mistakes.").count(), 2);
    assert!(!html.contains("Prompts"));
    assert!(html.contains("<td data-value=\"-1\">-</td>"), "class 0 has no images");
}

#[test]
fn confusions_are_counted() {
    let mut confusion = confusion(3);
    [1, 1, 1].into_iter().for_each(|said| confusion.add(2, said));
    assert_eq!((confusion.images(2), confusion.count(2, 2), confusion.count(2, 1)), (6, 2, 3));
    assert_eq!(confusion.mostly_taken_for(2), Some((1, 3)));
    assert_eq!(confusion.mostly_taken_for(0), Some((1, 1)));
    assert_eq!(confusion.mostly_taken_for(7), None);
}

#[test]
fn numbers_are_short() {
    let cases = [
        (0.0, "0"),
        (0.12345, "0.1235"),
        (12.345, "12.35"),
        (-3.0, "-3.000"),
        (1e-5, "1.000e-5"),
        (2e6, "2.000e6"),
    ];
    for (value, text) in cases {
        assert_eq!(svg::short(value), text);
    }
}
