//! `svp-data` as a user runs it, and training on archives.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use testkit::programs::{Scratch, text, train, words};

fn check(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_svp-data")).arg("check").args(args).output().unwrap()
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A tar archive of a folder, with its files below `top`.
fn tar(folder: &Path, top: &str) -> Vec<u8> {
    let mut archive = Vec::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(below) = todo.pop() {
        let path = folder.join(&below);
        if path.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| below.join(entry.unwrap().file_name())));
            continue;
        }
        let content = fs::read(&path).unwrap();
        let mut block = [0u8; 512];
        let name = format!("{top}/{}", below.display());
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        block[148..156].copy_from_slice(b"        ");
        block[156..157].copy_from_slice(b"0");
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        archive.extend(block);
        archive.extend(&content);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

#[test]
fn a_run_on_an_archive_is_the_run_on_its_folder() {
    let place = Scratch::new("archive");
    let folder = place.data("images", 3);
    let archive = place.write("download/images.tar", &tar(Path::new(&folder), "images"));
    let backbone = format!("{}/best.safetensors", place.small_vim("backbone", &folder));
    let run = |data: &str, out: &str| {
        let out = place.at(out);
        let args = ["--data", data, "--out", &out, "--backbone", &backbone];
        let done = train(&[&args[..], &words("--epochs 2 --batch-size 8 --hidden 8")].concat());
        assert!(done.status.success(), "{}", text(&done.stderr));
        let report: serde_json::Value =
            serde_json::from_slice(&fs::read(Path::new(&out).join("report.json")).unwrap()).unwrap();
        let metrics = fs::read_to_string(Path::new(&out).join("metrics.jsonl")).unwrap();
        let losses = metrics.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let losses: Vec<_> = losses.map(|line| line["train_loss"].clone()).collect();
        assert!(losses.iter().any(|loss| loss.is_number()), "{metrics}");
        (report["test"].clone(), losses)
    };
    let want = run(&folder, "of-folder");
    assert_eq!(run(&archive, "of-archive"), want);
    // The images are found in the folder that they were downloaded to.
    assert_eq!(run(&place.at("download"), "of-download"), want);
}

#[test]
fn a_check_says_what_is_there() {
    let place = Scratch::new("check");
    let folder = place.data("images", 3);
    let good = check(&[&folder, "--decode"]);
    let shown = text(&good.stdout);
    assert!(good.status.success(), "{shown}{}", text(&good.stderr));
    for part in ["found: image folder", "train", "60", "18", "3 classes", "nothing is wrong"] {
        assert!(shown.contains(part), "`{part}` is not in: {shown}");
    }
    let archive = place.write("images.tar", &tar(Path::new(&folder), "images"));
    let found = json(&check(&[&archive, "--json"]));
    assert_eq!(found["layout"], "folder");
    assert_eq!(found["splits"][1]["per_class"], serde_json::json!([6, 6, 6]));
    assert!(found["recognised"].as_str().unwrap().contains("images.tar"), "{found}");
}

#[test]
fn a_check_lists_what_to_mend() {
    let place = Scratch::new("mend");
    let pnm = b"P6 2 1 255\nabcdef";
    for i in 0..30 {
        place.write(&format!("dtd/images/a/{i}.jpg"), if i < 25 { b"no picture" } else { &pnm[..] });
        place.write(&format!("dtd/images/b/{i}.jpg"), pnm);
    }
    let list = |class: &str, to: usize| (0..to).map(|i| format!("{class}/{i}.jpg\n")).collect::<String>();
    place.write("dtd/labels/train1.txt", (list("a", 30) + &list("b", 31)).as_bytes());
    place.write("dtd/labels/test1.txt", list("b", 3).as_bytes());
    let dir = place.at("");
    let bad = check(&[&dir, "--preset", "hta/dtd"]);
    let shown = text(&bad.stdout);
    assert_eq!(bad.status.code(), Some(1), "{shown}");
    for part in [
        "found: DTD, lists, in",
        "train1.txt: 1 of 61 listed images are missing",
        "b/30.jpg; put the images",
        "has 2 classes, published are 47",
        "has no val split",
        "a/3.jpg: is not a jpeg, png, pnm, webp, bmp, tiff or gif image; replace or remove the file",
        "8 more problems: --json lists them all",
        "28 problems",
    ] {
        assert!(shown.contains(part), "`{part}` is not in: {shown}");
    }
    assert!(shown.lines().filter(|line| line.starts_with("problem: ")).count() == 20, "{shown}");
    let all = json(&check(&[&dir, "--dataset", "dtd", "--json"]));
    assert_eq!(all["problems"].as_array().unwrap().len(), 28);
    assert_eq!(all["published_classes"], 47);
    assert!(all["missing"][0].as_str().unwrap().ends_with("b/30.jpg"), "{all}");
}

#[test]
fn a_check_of_nothing_is_refused_in_one_line() {
    let place = Scratch::new("nothing");
    let archive = place.write("cut/images.tar.gz", b"\x1f\x8b\x08\0\0\0\0\0\0\x03cut");
    let page = place.write("page.zip", b"<!DOCTYPE html>");
    let (none, cut, empty) = (place.at("none"), place.at("cut"), place.at("empty"));
    place.write("empty/readme.txt", b"nothing here");
    for (args, parts) in [
        (vec![none.as_str()], &["none", "No such file"][..]),
        (vec![&page], &["page.zip", "web page"]),
        (vec![&cut], &["images.tar.gz", "get it again"]),
        (vec![&archive], &["images.tar.gz", "get it again"]),
        (vec![&empty, "--dataset", "svhn"], &["no SVHN", "svhn"]),
        (vec![&empty, "--preset", "hta/none"], &["--preset", "hta/none", "hta/cub200"]),
        (vec![&empty, "--preset", "folder"], &["--preset", "folder"]),
    ] {
        let output = check(&args);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        for part in parts {
            assert!(stderr.starts_with("error: ") && stderr.contains(part), "`{part}` is not in: {stderr}");
        }
    }
    let usage = check(&[&empty, "--dataset", "coco"]);
    assert_eq!(usage.status.code(), Some(2));
    assert!(text(&usage.stderr).contains("cub200"), "{}", text(&usage.stderr));
}

/// Folders as people have them: splits with other names, loose and hidden images, thumbnails, an unlabelled test split,
/// a broken image, and a class with a hostile name.
#[test]
fn what_is_left_out_is_told() {
    let place = Scratch::new("own");
    let folder = place.data("images", 3);
    let at = |name: &str| Path::new(&folder).join(name);
    fs::rename(at("train"), at("Training")).unwrap();
    fs::rename(at("test/class 2"), at("class 2")).unwrap();
    fs::create_dir_all(at("Validation")).unwrap();
    for class in ["class 0", "class 1"] {
        fs::rename(at(&format!("test/{class}")), at(&format!("Validation/{class}"))).unwrap();
    }
    fs::rename(at("Training/class 1"), at("Training/class 1\x1b[31m\n")).unwrap();
    fs::rename(at("Validation/class 1"), at("Validation/class 1\x1b[31m\n")).unwrap();
    let picture = fs::read(at("class 2/0.ppm")).unwrap();
    place.write("images/test/new.ppm", &picture);
    place.write("images/Training/loose.ppm", &picture);
    place.write("images/Training/class 0/.hidden.ppm", &picture);
    place.write("images/Training/class 0/@eaDir/0.ppm/thumb.jpg", &picture);
    place.write("images/Training/class 0/notes.txt", b"notes");
    place.write("images/Training/class 2/19.ppm", b"no picture");
    let told = [
        "1 image in no class folder, so that their classes are unknown: there is no test split",
        "1 image in no class folder: loose.ppm",
        "the folder is no split (train, val or test); it has 6 images",
        "1 hidden image",
        "@eaDir",
        "1 file (1 .txt)",
    ];
    let checked = check(&[&folder]);
    let shown = text(&checked.stdout);
    assert_eq!(checked.status.code(), Some(1), "{shown}");
    let more = ["found: image folder", "19.ppm: is not a jpeg", "3 problems"];
    for part in told.iter().chain(&more) {
        assert!(shown.contains(part), "`{part}` is not in: {shown}");
    }
    assert!(!shown.contains("nothing is wrong") && !shown.contains("archive"), "{shown}");
    let out = place.at("run");
    let done =
        train(&[&["--data", &folder, "--out", &out][..], &words("--method linear --epochs 1")].concat());
    let (stderr, table) = (text(&done.stderr), text(&done.stdout));
    assert!(done.status.success(), "{stderr}");
    for part in
        told.iter().chain(&["no test split: accuracy is reported on val", "cannot be read: ", "19.ppm"])
    {
        assert!(stderr.contains(part), "`{part}` is not in: {stderr}");
    }
    assert!(table.contains("1 image could not be read; report.json lists them"), "{table}");
    let classes = fs::read_to_string(Path::new(&out).join("classes.txt")).unwrap();
    assert_eq!(classes, "class 0\nclass 1\\u{1b}[31m\\n\nclass 2\n");
    let measured = Command::new(env!("CARGO_BIN_EXE_svp-eval")).arg(&out).output().unwrap();
    let measured = text(&measured.stdout);
    assert!(measured.contains("class 1\\u{1b}[31m\\n"), "{measured}");
    let new = place.at("images/Training/class 0");
    let predict = |path: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_svp-predict"));
        command.args(["--run", &out, path]).output().unwrap()
    };
    let predicted = predict(&new);
    let (named, log) = (text(&predicted.stdout), text(&predicted.stderr));
    assert!(predicted.status.success(), "{log}");
    assert_eq!(named.lines().filter(|line| line.ends_with(".ppm")).count(), 20, "{named}");
    assert!(log.contains("1 hidden image") && log.contains("@eaDir"), "{log}");
    assert!(![shown, stderr, table, measured, named].iter().any(|text| text.contains('\x1b')));
    // A class that lost all its images is no class to train.
    for i in 0..20 {
        place.write(&format!("images/Training/class 2/{i}.ppm"), b"no picture");
    }
    let lost = check(&[&folder]);
    let lost = text(&lost.stdout);
    assert!(lost.contains("class \"class 2\": not one of 20 images to train on can be read"), "{lost}");
}

/// Class folders alone and lists of one's own are trained on, and their splits are told.
#[test]
fn sets_without_splits_are_split() {
    let place = Scratch::new("unsplit");
    let folder = place.data("images", 3);
    let classes = format!("{folder}/train");
    let run = |data: &str, name: &str| {
        let out = place.at(name);
        let done =
            train(&[&["--data", data, "--out", &out][..], &words("--method linear --epochs 1")].concat());
        assert!(done.status.success(), "{}", text(&done.stderr));
        text(&done.stderr)
    };
    let told = run(&classes, "classes");
    for part in ["held out 12 of 60 images for test", "held out 9 of 48 training images"] {
        assert!(told.contains(part), "`{part}` is not in: {told}");
    }
    let rows = |split: &str| -> String {
        let images = fs::read_dir(Path::new(&folder).join(split)).unwrap().flat_map(|class| {
            let class = class.unwrap().path();
            fs::read_dir(&class).unwrap().map(|image| image.unwrap().path()).collect::<Vec<_>>()
        });
        let row = |path: PathBuf| {
            let class = path.parent().unwrap().file_name().unwrap().to_str().unwrap().to_string();
            let path = path.strip_prefix(&folder).unwrap().to_str().unwrap().replace('/', "\\");
            format!("{path},{class},{split}\r\n")
        };
        images.map(row).collect()
    };
    let list = place.write("images/list.csv", (rows("train") + &rows("test")).as_bytes());
    let told = run(&list, "list");
    assert!(told.contains("list of images") && !told.contains("for test"), "{told}");
    let copied = format!("{folder}/test/class 0/0.ppm");
    fs::copy(format!("{folder}/train/class 0/3.ppm"), copied).unwrap();
    let checked = check(&[&folder, "--duplicates"]);
    let shown = text(&checked.stdout);
    assert_eq!(checked.status.code(), Some(1), "{shown}");
    assert!(shown.contains("test/class 0/0.ppm is ") && shown.contains("class 0/3.ppm"), "{shown}");
    assert!(shown.contains("1 exactly"), "{shown}");
}

/// Lists of a data set may be anybody's. That they name files outside of it is refused, and allowed by a flag, which the
/// run's config keeps.
#[test]
fn lists_lead_out_of_the_data_set_only_where_that_is_allowed() {
    let place = Scratch::new("outside");
    let images = place.data("images", 2);
    let list: serde_json::Map<String, serde_json::Value> =
        (0..40).map(|i| (format!("../images/train/class {}/{}.ppm", i % 2, i / 2), (i % 2).into())).collect();
    let set = place.write("set/train.json", serde_json::to_string(&list).unwrap().as_bytes());
    let set = set.strip_suffix("/train.json").unwrap();
    let refused = check(&[set]);
    let told = text(&refused.stdout);
    assert_eq!(refused.status.code(), Some(1), "{told}");
    assert!(told.contains("40 of 40 listed images lie outside of the data set"), "{told}");
    assert!(told.contains("--allow-outside"), "{told}");
    let allowed = check(&[set, "--allow-outside"]);
    assert!(allowed.status.success(), "{}", text(&allowed.stdout));

    let backbone = format!("{}/best.safetensors", place.small_vim("backbone", &images));
    let out = place.at("run");
    let args = ["--data", set, "--out", &out, "--backbone", &backbone];
    let run = |more: &str| train(&[&args[..], &words(more)].concat());
    let refused = run("--epochs 1 --batch-size 8 --hidden 8");
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused.stderr));
    assert!(text(&refused.stderr).contains("--allow-outside"), "{}", text(&refused.stderr));
    let done = run("--epochs 1 --batch-size 8 --hidden 8 --allow-outside");
    assert!(done.status.success(), "{}", text(&done.stderr));
    let resumed = train(&["--resume", &out, "--epochs", "2"]);
    assert!(resumed.status.success(), "{}", text(&resumed.stderr));
}

/// What a file claims is taken from the budget before it is allocated: a small budget makes a line, and a compressed
/// archive makes do with fewer restart points.
#[test]
fn a_check_keeps_to_its_memory() {
    let place = Scratch::new("memory");
    let page =
        |side: usize| [format!("P6 {side} {side} 255\n").into_bytes(), vec![9; 3 * side * side]].concat();
    for class in ["a", "b"] {
        place.write(&format!("set/{class}/small.ppm"), &page(100));
    }
    place.write("set/b/large.ppm", &page(2000));
    let set = place.at("set");
    assert!(check(&[&set, "--decode"]).status.success());
    let little = check(&[&set, "--decode", "--max-memory", "16MiB"]);
    let told = text(&little.stdout);
    assert_eq!(little.status.code(), Some(1), "{told}");
    assert!(
        told.contains("large.ppm: needs 12 MiB of memory, 4 of 16 MiB are left (--max-memory)"),
        "{told}"
    );
    assert!(told.contains("1 problem"), "{told}");

    for i in 0..28 {
        let mut picture = page(300);
        picture[16..].iter_mut().enumerate().for_each(|(at, byte)| *byte = (at * (i + 1) % 251) as u8);
        place.write(&format!("many/{}/{i}.ppm", i % 2), &picture);
    }
    let packed = place.write("many.tar.gz", &gzip(&tar(Path::new(&place.at("many")), "many")));
    let checked = check(&[&packed, "--decode", "--max-memory", "16MiB"]);
    assert!(checked.status.success(), "{}{}", text(&checked.stdout), text(&checked.stderr));
}

/// A gzip file whose content is not compressed.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec();
    for (i, block) in bytes.chunks(65_535).enumerate() {
        let (is_last, length) = ((i + 1) * 65_535 >= bytes.len(), block.len() as u16);
        gzip.push(is_last.into());
        gzip.extend([length.to_le_bytes(), (!length).to_le_bytes()].concat());
        gzip.extend(block);
    }
    let bit = |c: u32| if c & 1 == 1 { c >> 1 ^ 0xEDB8_8320 } else { c >> 1 };
    let sum = bytes.iter().fold(u32::MAX, |sum, &byte| (0..8).fold(sum ^ u32::from(byte), |c, _| bit(c)));
    gzip.extend([(!sum).to_le_bytes(), (bytes.len() as u32).to_le_bytes()].concat());
    gzip
}
