use std::collections::HashSet;
use std::fs;

use image::RgbImage;
use tempfile::TempDir;

use super::*;
use crate::decode;

/// A folder with these files. Names that end like those of images get an image of two pixels.
fn tree(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if decode::is_image_name(&path) {
            RgbImage::new(2, 1).save_with_format(&path, image::ImageFormat::Png).unwrap();
        } else {
            fs::write(&path, text).unwrap();
        }
    }
    dir
}

fn images(names: &[&str]) -> TempDir {
    tree(&names.iter().map(|name| (*name, "")).collect::<Vec<_>>())
}

fn open(dir: &TempDir) -> Result<Dataset> {
    Dataset::open(dir.path(), Layout::Auto, 0, false)?.hold_out(0, 0.2)
}

/// The message, of one line, with which a folder is refused.
fn refused(dir: &TempDir) -> String {
    let message = open(dir).unwrap_err().to_string();
    assert!(!message.contains('\n'), "{message}");
    message
}

fn val(data: &Dataset) -> &[Sample] {
    data.val.as_deref().unwrap()
}

/// `path label` below the root.
fn listed(data: &Dataset, samples: &[Sample]) -> Vec<String> {
    let name = |sample: &Sample| {
        let path = sample.source.path();
        path.strip_prefix(&data.root).unwrap_or(&path).display().to_string()
    };
    samples.iter().map(|sample| format!("{} {}", name(sample), sample.label)).collect()
}

#[test]
fn an_image_folder_is_read_in_byte_order() {
    let dir = images(&[
        "train/b/2.png",
        "train/b/10.JPG",
        "train/a/x/1.ppm",
        "train/a/z.webp",
        "train/a/.hidden.png",
        "train/.git/1.png",
        "train/Z/1.png",
        "val/b/1.png",
        "test/a/1.png",
    ]);
    fs::write(dir.path().join("train/a/notes.txt"), "").unwrap();
    let data = open(&dir).unwrap();
    assert_eq!(data.classes, ["Z", "a", "b"]);
    let want =
        ["train/Z/1.png 0", "train/a/z.webp 1", "train/a/x/1.ppm 1", "train/b/10.JPG 2", "train/b/2.png 2"];
    assert_eq!(listed(&data, &data.train), want);
    assert_eq!(listed(&data, val(&data)), ["val/b/1.png 2"]);
    assert_eq!(listed(&data, data.test.as_ref().unwrap()), ["test/a/1.png 1"]);
    assert_eq!(data.notes[0], "left out because their names are not those of images: 1 file (1 .txt)");
    let hidden = dir.path().join("train/a/.hidden.png");
    assert_eq!(data.notes[1], format!("left out: 1 hidden image: {}", hidden.display()));
    assert_eq!(data.notes[2], format!("data: image folder, class folders, in {}", dir.path().display()));
}

#[test]
fn without_val_a_stratified_part_is_held_out() {
    let names: Vec<String> = (0..50)
        .map(|i| format!("train/many/{i:02}.png"))
        .chain((0..2).map(|i| format!("train/two/{i}.png")))
        .chain(["train/one/0.png".to_string()])
        .collect();
    let dir = images(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let data = open(&dir).unwrap();
    let count = |samples: &[Sample], label| samples.iter().filter(|s| s.label == label).count();
    // The classes in byte order are many, one and two.
    assert_eq!([0, 1, 2].map(|label| count(&data.train, label)), [40, 1, 1]);
    assert_eq!([0, 1, 2].map(|label| count(val(&data), label)), [10, 0, 1]);
    let all: HashSet<String> =
        listed(&data, &data.train).into_iter().chain(listed(&data, val(&data))).collect();
    assert_eq!(all.len(), 53);
    assert!(data.train.is_sorted_by_key(|s| s.source.to_string()));
    assert!(data.notes[0].starts_with("no test split"));
    assert_eq!(data.notes[2], "no val split: held out 11 of 53 training images, stratified, seed 0");

    assert_eq!(open(&dir).unwrap().fingerprint(), data.fingerprint());
    let whole = Dataset::open(dir.path(), Layout::Folder, 1, false).unwrap();
    assert_ne!(whole.clone().hold_out(1, 0.2).unwrap().fingerprint(), data.fingerprint());
    assert!(whole.hold_out(0, 1.0).unwrap_err().to_string().contains("val-fraction"));
}

/// Whatever the layout, every image comes once, and those of a validation split come last.
#[test]
fn the_validation_images_can_be_trained_on() {
    let folder = ["train/a/1.png", "train/a/2.png", "train/b/1.png", "test/a/1.png"];
    let with_val = [&folder[..], &["val/b/2.png"]].concat();
    let lists = |from: usize| tree(&[&PAIR[from..], &[("test.txt", "i/1.png 1\n")]].concat());
    let whole = ["train/a/1.png 0", "train/a/2.png 0", "train/b/1.png 1"];
    let listed_all = ["i/1.png 0", "i/2.png 2", "i/3 and a half.png 1"];
    let cases = [
        (images(&folder), whole.to_vec(), "no val split: trained on all 3 images, none held out"),
        (
            images(&with_val),
            [&whole[..], &["val/b/2.png 1"]].concat(),
            "trained on the 1 images of the val split too, 4 in all",
        ),
        (lists(0), listed_all.to_vec(), "trained on the 1 images of the val split too, 3 in all"),
        // There is only the joint list.
        (lists(2), listed_all.to_vec(), "no val split: trained on all 3 images, none held out"),
    ];
    for (dir, want, note) in cases {
        let as_found = Dataset::open(dir.path(), Layout::Auto, 0, false).unwrap();
        let data = as_found.clone().train_on_val();
        assert_eq!(listed(&data, &data.train), want);
        assert_eq!((data.val.is_none(), &data.test), (true, &as_found.test));
        assert_eq!(data.notes.last().unwrap(), note);
        if as_found.val.is_some() {
            assert_ne!(data.fingerprint(), as_found.fingerprint());
        }
    }
}

#[test]
fn damaged_folders_are_refused_in_one_line() {
    let cases: [(&[&str], &[&str]); 6] = [
        (&["train/a/1.png", "train/b/notes.txt"], &["train/b", "no image"]),
        (&["train/a/1.png", "train/b/1.png", "val/c/1.png"], &["val/c", "class that train does not have"]),
        (&["train/a/1.png", "train/a/2.png"], &["1 class"]),
        (&["train/a/1.png", "train/b/1.png", "val/a/.x.png"], &["val split has no images"]),
        (&["train/a/1.png", "train/b/1.png", "val/a/1.png", "Valid/a/1.png"], &["both Valid and val"]),
        (&["a/1.png", "b/notes.txt"], &["train/CLASS/*", "CLASS/*", "train800.txt", "train.json"]),
    ];
    for (files, wants) in cases {
        let message = refused(&images(files));
        assert!(wants.iter().all(|want| message.contains(want)), "{message}");
    }
    let message = refused(&images(&["train/a/1.png", "train/b/1.png"]));
    assert!(message.contains("no class with two images"), "{message}");

    let dir = tree(&[("list.txt", "a/1.png 0")]);
    let file = dir.path().join("list.txt");
    let message = Dataset::open(&file, Layout::Auto, 0, false).unwrap_err().to_string();
    assert!(
        message.contains("list.txt") && message.contains("neither tar, gzip, xz, bzip2 nor zip"),
        "{message}"
    );
    let message = Dataset::open(&dir.path().join("none"), Layout::Auto, 0, false).unwrap_err().to_string();
    assert!(message.contains("check the path"), "{message}");
}

#[cfg(unix)]
#[test]
fn links_are_followed_but_not_in_circles() {
    use std::os::unix::fs::symlink;
    let dir = images(&["train/a/1.png", "train/b/1.png", "val/a/1.png", "elsewhere/2.png"]);
    let at = |name: &str| dir.path().join(name);
    symlink(at("train"), at("train/a/loop")).unwrap();
    symlink(at("elsewhere"), at("train/b/more")).unwrap();
    symlink(at("elsewhere/2.png"), at("train/b/9.png")).unwrap();
    let data = open(&dir).unwrap();
    let b: Vec<String> = listed(&data, &data.train).into_iter().filter(|line| line.ends_with('1')).collect();
    assert_eq!(b, ["train/b/1.png 1", "train/b/9.png 1", "train/b/more/2.png 1"]);
    assert!(data.train.len() < 10);
}

const PAIR: [(&str, &str); 6] = [
    ("train800.txt", "i/1.png 0\ni/2.png 2\n"),
    ("val200.txt", "i/3 and a half.png 1\r\n\r\n"),
    ("train800val200.txt", "i/1.png 0\ni/2.png 2\ni/3 and a half.png 1\n"),
    ("i/1.png", ""),
    ("i/2.png", ""),
    ("i/3 and a half.png", ""),
];

#[test]
fn vtab_lists_are_read() {
    let mut files = PAIR.to_vec();
    files.push(("test.txt", "i/1.png 3\n"));
    let data = open(&tree(&files)).unwrap();
    assert_eq!(data.classes, ["0", "1", "2", "3"]);
    assert_eq!(listed(&data, &data.train), ["i/1.png 0", "i/2.png 2"]);
    assert_eq!(listed(&data, val(&data)), ["i/3 and a half.png 1"]);
    assert_eq!(listed(&data, data.test.as_ref().unwrap()), ["i/1.png 3"]);

    // With only the joint list, a part of it is held out: one of the four images of each class.
    let names: Vec<String> = (0..8).map(|i| format!("{i}.png")).collect();
    let list: String = names.iter().enumerate().map(|(i, name)| format!("{name} {}\n", i % 2)).collect();
    let mut files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    files.push(("train800val200.txt", &list));
    let data = open(&tree(&files)).unwrap();
    assert_eq!((data.train.len(), val(&data).len(), data.test.is_none()), (6, 2, true));
}

#[test]
fn damaged_lists_are_refused_in_one_line() {
    let cases = [
        ("i/1.png\n", "train800.txt:1"),
        ("i/1.png 0\ni/2.png two\n", "train800.txt:2"),
        ("i/1.png -1\n", "train800.txt:1"),
        ("i/1.png 4000000000\n", "below 100000"),
        ("i/1.png 0\ni/8.png 1\ni/9.png 1\n", "2 of 3 listed images are missing"),
        ("", "the train split has no images"),
    ];
    for (list, want) in cases {
        let mut files = PAIR.to_vec();
        files[0].1 = list;
        let message = refused(&tree(&files));
        assert!(message.contains(want), "{want}: {message}");
    }
}

const SPLITS: [(&str, &str); 6] = [
    ("train.json", r#"{"b/2.png": 30, "a/1.png": 4, "b/3.png": 30}"#),
    ("val.json", r#"{"b/3.png": 30}"#),
    ("test.json", r#"{"a/1.png": 4}"#),
    ("Images/a/1.png", ""),
    ("Images/b/2.png", ""),
    ("Images/b/3.png", ""),
];

#[test]
fn json_splits_are_read() {
    let data = open(&tree(&SPLITS)).unwrap();
    // Samples are in the order of the file, ids in the order of their values, and a validation image is not trained on.
    assert_eq!(data.classes, ["4", "30"]);
    assert_eq!(listed(&data, &data.train), ["Images/b/2.png 1", "Images/a/1.png 0"]);
    assert_eq!(listed(&data, val(&data)), ["Images/b/3.png 1"]);
    assert_eq!(data.notes[0], "validation images that train.json lists as well: 1");

    let text_ids = r#"{"x/1.png": "010", "x/2.png": "002", "x/3.png": "010", "x/4.png": "002"}"#;
    let files =
        [("train.json", text_ids), ("x/1.png", ""), ("x/2.png", ""), ("x/3.png", ""), ("x/4.png", "")];
    let data = open(&tree(&files)).unwrap();
    assert_eq!(data.classes, ["002", "010"]);
    assert_eq!((data.train.len(), val(&data).len()), (2, 2));
}

#[test]
fn damaged_json_splits_are_refused_in_one_line() {
    let cases = [
        ("train.json", "{", "not a JSON split"),
        ("train.json", "[1, 2]", "not a JSON split"),
        ("train.json", r#"{"a/1.png": 1.5}"#, "neither an integer nor a text"),
        ("train.json", r#"{"a/1.png": 1, "b/2.png": "1"}"#, "numbers (1) and texts"),
        ("train.json", "{}", "lists no images"),
        ("test.json", r#"{"a/1.png": 5}"#, "class id 5 of \"a/1.png\" does not occur in train.json"),
        ("test.json", r#"{"a/7.png": 4}"#, "1 of 1 listed images are missing"),
    ];
    for (name, text, want) in cases {
        let mut files = SPLITS.to_vec();
        files.iter_mut().find(|(file, _)| *file == name).unwrap().1 = text;
        let message = refused(&tree(&files));
        assert!(message.contains(want), "{want}: {message}");
    }
}

/// Lists that were changed at random are refused or read, without a panic and without a huge number of classes.
#[test]
fn mutated_lists_do_no_harm() {
    for (files, layout) in [(PAIR, Layout::Vtab), (SPLITS, Layout::Json)] {
        let dir = tree(&files);
        for case in 0..400 {
            let mut rng = Rng::keyed(1, 0, case, 0);
            let (name, text) = files[rng.below(3) as usize];
            let mut bytes = text.as_bytes().to_vec();
            for _ in 0..1 + rng.below(3) {
                let at = rng.below(bytes.len() as u32) as usize;
                match rng.below(3) {
                    0 => bytes[at] = rng.next_u32() as u8,
                    1 => bytes.insert(at, b"0123456789\"{}[]:, \n"[rng.below(19) as usize]),
                    _ => bytes.truncate(at + 1),
                }
            }
            fs::write(dir.path().join(name), &bytes).unwrap();
            match Dataset::open(dir.path(), layout, 0, false).and_then(|data| data.hold_out(0, 0.2)) {
                Ok(data) => assert!(data.classes.len() <= 100_000 && !data.train.is_empty()),
                Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
            }
            fs::write(dir.path().join(name), text).unwrap();
        }
    }
}

#[test]
fn layouts_have_names() {
    for (name, layout) in [
        ("auto", Layout::Auto),
        ("folder", Layout::Folder),
        ("csv", Layout::Csv),
        ("metadata", Layout::Metadata),
        ("tables", Layout::Tables),
        ("lists", Layout::Lists),
        ("vtab", Layout::Vtab),
        ("json", Layout::Json),
    ] {
        assert_eq!(name.parse::<Layout>().unwrap(), layout);
        assert_eq!(serde_json::to_string(&layout).unwrap(), format!("{name:?}"));
    }
    assert!(
        "coco".parse::<Layout>().unwrap_err().to_string().contains("tables, lists, vtab, json, cifar100")
    );
}

#[test]
fn an_archive_that_changes_is_told() {
    let images = crate::testing::files(&[("a/1.jpg", ""), ("a/2.jpg", ""), ("b/1.jpg", ""), ("b/2.jpg", "")]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("images.tar");
    fs::write(&path, crate::testing::tar(&images)).unwrap();
    let data = Dataset::open(&path, Layout::Auto, 0, false).unwrap().hold_out(0, 0.5).unwrap();
    data.unchanged().unwrap();
    fs::write(&path, crate::testing::tar(&images[..2].to_vec())).unwrap();
    let told = data.unchanged().unwrap_err().to_string();
    assert!(told.contains("images.tar: was changed by another program") && !told.contains('\n'), "{told}");
    fs::remove_file(&path).unwrap();
    assert!(data.unchanged().unwrap_err().to_string().contains("was removed"));
    Dataset::builtin("count").unwrap().unchanged().unwrap();
}
