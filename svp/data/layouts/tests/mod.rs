use std::fs;
use std::path::Path;

use engine::Rng;
use tempfile::TempDir;

use super::examples::*;
use super::find::archive_folders;
use super::splits::{JSON, TABLES};
use super::*;
use crate::check::{Check, Depth, check};
use crate::dataset::Dataset;
use crate::sample::Sample;
use crate::testing::{self, Written, files, inside};
use crate::watch::unwatched;

mod own;

fn folder(files: &Written) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    testing::write(dir.path(), files);
    dir
}

fn open(path: &Path, layout: Layout) -> Dataset {
    Dataset::open(path, layout, 0, false).unwrap().hold_out(0, 0.5).unwrap()
}

/// `path label`, the path below the root.
fn listed(data: &Dataset, samples: &[Sample]) -> Vec<String> {
    let path = |sample: &Sample| sample.source.path().strip_prefix(&data.root).unwrap().display().to_string();
    samples.iter().map(|sample| format!("{} {}", path(sample), sample.label)).collect()
}

#[test]
fn every_layout_is_recognised_and_read() {
    for Example { name, form, files, classes, train, val, test } in examples() {
        let dir = folder(&files);
        let found = find(dir.path(), Layout::Auto, 0, false).unwrap();
        assert_eq!((found.layout.name(), found.splits.form), (of_its_own(name, form), form));
        let data = open(dir.path(), name.parse().unwrap());
        assert_eq!(data.classes, classes, "{name}");
        match val {
            Some(val) => {
                assert_eq!(
                    (listed(&data, &data.train), listed(&data, data.val.as_deref().unwrap())),
                    (owned(&train), owned(&val)),
                    "{name}"
                )
            }
            // The validation split is held out of train.
            None => {
                let mut all =
                    [listed(&data, &data.train), listed(&data, data.val.as_deref().unwrap())].concat();
                all.sort_by_key(|line| train.iter().position(|want| want == line));
                assert_eq!(all, train, "{name}");
            }
        }
        assert_eq!(listed(&data, data.test.as_ref().unwrap()), test, "{name}");
        for sample in data.train.iter().chain(data.val.iter().flatten()).chain(data.test.iter().flatten()) {
            sample.source.load().unwrap();
            sample.source.check_header().unwrap();
        }
        if of_its_own(name, form) == name {
            assert_eq!(open(dir.path(), Layout::Auto).fingerprint(), data.fingerprint());
        }
    }
}

/// How an example of few classes is read unless it is asked for by name, where its form is not told by its own marks.
fn of_its_own<'a>(name: &'a str, form: &str) -> &'a str {
    match (name, form) {
        (_, JSON) => "json",
        (_, TABLES) => "tables",
        ("food101", _) => "lists",
        _ => name,
    }
}

fn owned(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| line.to_string()).collect()
}

/// A data set may be an archive, an archive with a folder in it, a folder that lies beside its archives, or one in the
/// folders of the published program.
#[test]
fn archives_stand_for_folders() {
    for Example { name, form, files, .. } in examples() {
        let unpacked = folder(&files);
        let want = open(unpacked.path(), Layout::Auto);
        let layout = want.layout;
        let same = |path: &Path, layout| {
            let data = open(path, layout);
            assert_eq!(
                (data.layout, data.fingerprint()),
                (want.layout, want.fingerprint()),
                "{name}: {}",
                path.display()
            );
            let pictures =
                |data: &Dataset| data.train.iter().map(|s| s.source.load().unwrap()).collect::<Vec<_>>();
            assert_eq!(pictures(&data), pictures(&want));
        };
        let top = inside("any", &files);
        let (here, there) = files.split_at(files.len() / 2);
        let usual = archive_folders(layout).pop().unwrap_or_default();
        let dir = folder(&vec![
            ("plain.tar".into(), testing::tar(&files)),
            ("top.tgz".into(), testing::gzip(&testing::tar(&top))),
            ("top.ZIP".into(), testing::zip(&top)),
            ("alone/data.tar.gz".into(), testing::gzip(&testing::tar(&files))),
        ]);
        testing::write(dir.path(), &inside("half", &here.to_vec()));
        testing::write(dir.path(), &vec![("half/rest.zip".into(), testing::zip(&there.to_vec()))]);
        testing::write(dir.path(), &inside("published/other", &testing::files(&[("readme.txt", "text")])));
        testing::write(dir.path(), &inside(&format!("published/{usual}"), &here.to_vec()));
        let rest = format!("published/{usual}/rest.tar");
        testing::write(dir.path(), &vec![(rest, testing::tar(&there.to_vec()))]);
        for path in ["plain.tar", "top.tgz", "top.ZIP", "alone", "half", "published"] {
            same(&dir.path().join(path), Layout::Auto);
            same(&dir.path().join(path), layout);
        }
        let found = find(&dir.path().join("alone"), Layout::Auto, 0, false).unwrap();
        let line = found.summary();
        assert!(
            line.contains(layout.title()) && line.contains(form) && line.contains("data.tar.gz"),
            "{line}"
        );
    }
}

/// With a file missing, cut or changed there is an error of one line, or a data set.
#[test]
fn damaged_layouts_do_no_harm() {
    for (number, Example { name, files, .. }) in examples().into_iter().enumerate() {
        let dir = folder(&files);
        let layout: Layout = name.parse().unwrap();
        let one_line = |what: &str| {
            for layout in [layout, Layout::Auto] {
                if let Err(error) = Dataset::open(dir.path(), layout, 0, false) {
                    assert!(!error.to_string().contains('\n'), "{name}, {what}: {error}");
                }
            }
        };
        let data = files.iter().filter(|(_, bytes)| bytes != testing::PNM);
        for (path, bytes) in data {
            let at = dir.path().join(path);
            fs::remove_file(&at).unwrap();
            one_line(path);
            let short = bytes.len().min(400);
            let cuts = (0..short).chain((short..bytes.len()).step_by(997)).step_by(3);
            for end in cuts {
                fs::write(&at, &bytes[..end]).unwrap();
                one_line(path);
            }
            for case in 0..40 {
                let mut rng = Rng::keyed(5, number as u32, case, 0);
                let mut bytes = bytes.clone();
                bytes[rng.below(short as u32) as usize] = rng.next_u32() as u8;
                fs::write(&at, &bytes).unwrap();
                one_line(path);
            }
            fs::write(&at, bytes).unwrap();
        }
        open(dir.path(), layout);
    }
}

/// Checks that an example with a file replaced or removed is refused, with these parts in the message.
fn refused(example: Example, change: (&str, Option<&[u8]>), wants: &[&str]) {
    let mut files = example.files;
    files.retain(|(name, _)| name != change.0);
    files.extend(change.1.map(|bytes| (change.0.to_string(), bytes.to_vec())));
    let dir = folder(&files);
    let layout = example.name.parse().unwrap();
    let message = Dataset::open(dir.path(), layout, 0, false).unwrap_err().to_string();
    assert!(wants.iter().all(|want| message.contains(want)), "{wants:?}: {message}");
}

#[test]
fn damage_is_named() {
    let bad_pickle = testing::cifar_pickle("labels", &[10, 0], &pixels(0, 2));
    let no_rows = testing::cifar_pickle("labels", &[1, 0, 3], &pixels(0, 2));
    let mut more_labels = testing::cifar_pickle("labels", &[1, 0], &pixels(0, 2));
    more_labels.splice(more_labels.len() - 3.., *b"K\x03eu.");
    let no_labels = testing::cifar_pickle("label", &[1], &pixels(0, 1));
    let no_names = testing::names_pickle("label_names", &["one".into()]);
    let digits = testing::mat(&[testing::packed_doubles("y", &[1])]);
    let eleven = testing::mat(&[
        testing::matrix(9, &[32, 32, 3, 1], "X", &[testing::element(2, &pixels(0, 1))]),
        testing::packed_doubles("y", &[11]),
    ]);
    let sets = testing::mat(&["trnid", "valid", "tstid"].map(|name| testing::packed_doubles(name, &[9])));
    let structs =
        testing::mat(&[testing::structs("annotations", &["fname"], &[vec![testing::text("", "1.jpg")]])]);
    type Case = (Example, &'static str, Option<Vec<u8>>, &'static [&'static str]);
    let cases: Vec<Case> = vec![
        (cifar(true), "data_batch_3", None, &["data_batch_3", "missing"]),
        (cifar(true), "data_batch_3", Some(bad_pickle), &["data_batch_3", "label 10"]),
        (cifar(true), "data_batch_3", Some(no_rows), &["no uint8 array"]),
        (cifar(true), "data_batch_3", Some(more_labels), &["2 pictures and 3 labels"]),
        (cifar(true), "data_batch_3", Some(no_labels), &["no list of labels"]),
        (cifar(true), "data_batch_3", Some(b"\x80\x02}.".to_vec()), &["no list of labels"]),
        (cifar(true), "data_batch_3", Some(b"text".to_vec()), &["data_batch_3", "opcode"]),
        (cifar(true), "batches.meta", Some(no_names), &["batches.meta", "names 1 of 10"]),
        (cifar(false), "data_batch_1.bin", Some(vec![0; 3072]), &["data_batch_1.bin", "truncated"]),
        (svhn(), "train_32x32.mat", Some(b"text".to_vec()), &["train_32x32.mat", "level-5"]),
        (svhn(), "train_32x32.mat", Some(digits), &["no uint8 variable X"]),
        (svhn(), "train_32x32.mat", Some(eleven), &["beyond 1 to 10"]),
        (gtsrb(), "GT-final_test.csv", None, &["GT-final_test.csv", "GTSRB_Final_Test_GT.zip"]),
        (gtsrb(), "GT-final_test.csv", Some(b"Filename;Class\n".to_vec()), &["no column ClassId"]),
        (
            gtsrb(),
            "GT-final_test.csv",
            Some(b"Filename;ClassId\n0.ppm;2\n".to_vec()),
            &["csv:2", "class below 2"],
        ),
        (
            food(true),
            "meta/train.json",
            Some(b"{\"pie\": 1}".to_vec()),
            &["train.json", "no list for \"pie\""],
        ),
        (food(true), "meta/test.json", Some(b"{\"ham\": [\"ham/1\"]}".to_vec()), &["\"ham\""]),
        (food(false), "meta/train.txt", Some(b"pie\n".to_vec()), &["not CLASS/IMAGE"]),
        (food(true), "images/egg/2.jpg", None, &["1 of 5 listed images are missing", "images/egg/2.jpg"]),
        (dtd(), "labels/val1.txt", Some(b"odd/o_1.jpg\n".to_vec()), &["val1.txt", "\"odd\""]),
        (flowers(), "imagelabels.mat", None, &["imagelabels.mat", "missing"]),
        (flowers(), "setid.mat", Some(sets), &["image 9", "has 4"]),
        (dogs(), "train_list.mat", Some(testing::mat(&[])), &["train_list.mat", "no variable file_list"]),
        (cars(false), "devkit/cars_train_annos.mat", Some(structs), &["no structs"]),
        (cub(), "image_class_labels.txt", Some(b"1 1\n2 2\n".to_vec()), &["no class for \"3\""]),
        (cub(), "train_test_split.txt", Some(b"1 1\n2 2\n".to_vec()), &["no 0 or 1 for \"2\""]),
        (cub(), "image_class_labels.txt", Some(b"1\n".to_vec()), &["labels.txt:1"]),
        (
            nabirds(),
            "images.txt",
            None,
            &["no NABirds", "train.json or train_test_split.txt with images.txt"],
        ),
    ];
    for (example, path, content, wants) in cases {
        refused(example, (path, content.as_deref()), wants);
    }
}

/// NumPy pickles arrays in several ways.
#[test]
fn other_pickles_of_arrays_are_read() {
    let rows = |pickle: &[u8]| {
        let dir = folder(&vec![
            ("train".into(), pickle.to_vec()),
            ("meta".into(), testing::names_pickle("fine_label_names", &vec!["n".into(); 100])),
        ]);
        find(dir.path(), Layout::Auto, 0, false)
            .map(|found| found.splits.train.iter().map(|s| s.source.load().unwrap()).collect::<Vec<_>>())
    };
    let pixels: Vec<u8> = (0..2 * 3072).map(|i| (i / 7) as u8).collect();
    let plain = testing::cifar_pickle("fine_labels", &[1, 2], &pixels);
    let want = rows(&plain).unwrap();
    // Column by column, which a flag in the state of the array says.
    let columns: Vec<u8> = (0..2 * 3072).map(|i| pixels[i % 2 * 3072 + i / 2]).collect();
    let mut fortran = testing::cifar_pickle("fine_labels", &[1, 2], &columns);
    let flag = fortran.windows(3).position(|w| w == b"\x89T\x00").unwrap();
    fortran[flag] = 0x88;
    assert_eq!(rows(&fortran).unwrap(), want);
    // Protocol 5 has the bytes themselves, then type, shape and order.
    let mut five = b"\x80\x05}(\x8c\x04datacnumpy._core.numeric\n_frombuffer\n(\x96".to_vec();
    five.extend((pixels.len() as u64).to_le_bytes());
    five.extend(&pixels);
    five.extend(b"cnumpy\ndtype\n\x8c\x02u1\x89\x88\x87RK\x02M\x00\x0c\x86\x8c\x01CtR\x8c\x0bfine_labels](K\x01K\x02eu.");
    assert_eq!(rows(&five).unwrap(), want);
    // Python 3 writes Latin-1 text for Python 2.
    let text: String = pixels.iter().map(|&byte| char::from(byte)).collect();
    let mut latin = b"c_codecs\nencode\nX".to_vec();
    latin.extend((text.len() as u32).to_le_bytes());
    latin.extend(text.as_bytes());
    latin.extend(b"U\x06latin1\x86R");
    let start = plain.windows(2).position(|w| w == b"\x89T").unwrap() + 1;
    let spliced = [&plain[..start], &latin, &plain[start + 5 + pixels.len()..]].concat();
    assert_eq!(rows(&spliced).unwrap(), want);
    // An array of floats is refused.
    let mut floats = plain;
    let kind = floats.windows(4).position(|w| w == b"U\x02u1").unwrap();
    floats[kind + 2] = b'f';
    assert!(rows(&floats).err().unwrap().to_string().contains("no uint8 array"));
}

fn vtab(task: &str) -> Written {
    let lists = files(&[
        ("train800.txt", "images/train800/0.jpg 0\nimages/train800/1.jpg 3\n"),
        ("val200.txt", "images/val200/0.jpg 1\n"),
        ("test.txt", "images/test/0.jpg 2\n"),
        ("images/train800/0.jpg", ""),
        ("images/train800/1.jpg", ""),
        ("images/val200/0.jpg", ""),
        ("images/test/0.jpg", ""),
    ]);
    inside(task, &lists)
}

/// The folder tells which task it is, and the task tells how many classes there are.
#[test]
fn vtab_tasks_are_told_by_their_folders() {
    let all = [vtab("VTAB/vtab-1k/dtd"), vtab("VTAB/vtab-1k/clever_dist"), vtab("mine")].concat();
    let dir = folder(&all);
    let at = |path: &str| dir.path().join(path);
    let found = |path: &str, name: &str| {
        let data = open(&at(path), name.parse().unwrap());
        (data.layout.name(), data.classes.len())
    };
    assert_eq!(found("VTAB/vtab-1k/dtd", "auto"), ("vtab/dtd", 47));
    assert_eq!(found("", "vtab/dtd"), ("vtab/dtd", 47));
    assert_eq!(found("VTAB", "VTAB_Clevr_Dist"), ("vtab/clevr_dist", 6));
    assert_eq!(found("mine", "auto"), ("vtab", 4));
    assert_eq!(found("mine", "vtab/dmlab"), ("vtab/dmlab", 6));
    let refused = |path: &str, name: &str| {
        Dataset::open(&at(path), name.parse().unwrap(), 0, false).unwrap_err().to_string()
    };
    let message = refused("VTAB/vtab-1k/dtd", "vtab/dmlab");
    assert!(message.contains("no VTAB-1k DMLab") && message.contains("train800.txt"), "{message}");
    let message = refused("mine", "vtab/patch_camelyon");
    assert!(message.contains("train800.txt:2") && message.contains("label below 2"), "{message}");
    let message = refused("", "auto");
    assert!(message.contains("2 data sets") && message.contains("vtab/clevr_dist in"), "{message}");
    let archive = folder(&vec![("dtd.zip".into(), testing::zip(&vtab("dtd")))]);
    assert_eq!(open(&archive.path().join("dtd.zip"), Layout::Auto).layout.name(), "vtab/dtd");
}

#[test]
fn published_data_sets_have_one_name_each() {
    for known in &KNOWN {
        let by_name = |name: &str| name.parse::<Layout>().unwrap();
        assert_eq!(by_name(known.name), Layout::Known(known));
        assert_eq!(by_name(known.flag), Layout::Known(known));
        assert_eq!(by_name(&known.flag.to_lowercase()), Layout::Known(known));
        let json = serde_json::to_string(&Layout::Known(known)).unwrap();
        assert_eq!(serde_json::from_str::<Layout>(&json).unwrap(), Layout::Known(known));
    }
    assert_eq!("hta/cub200".parse::<Layout>().unwrap().title(), "CUB-200-2011");
    assert!("vtab/none".parse::<Layout>().unwrap_err().to_string().contains("vtab/TASK"));
}

fn checked(files: &Written, decode: bool) -> Check {
    check(folder(files).path(), Layout::Auto, 0, Depth { decode, ..Depth::default() }, false, &unwatched)
        .unwrap()
}

fn problems(check: &Check) -> Vec<&str> {
    check.problems.iter().map(|problem| problem.what.as_str()).collect()
}

#[test]
fn a_check_compares_with_what_is_published() {
    let found = checked(&dtd().files, true);
    assert_eq!(found.layout.name(), "dtd");
    assert_eq!((found.classes.len(), found.published_classes), (2, Some(47)));
    let numbers: Vec<_> =
        found.splits.iter().map(|s| (s.name, s.images, s.published, s.per_class.clone())).collect();
    let want = [
        ("train", 2, Some(1880), vec![1, 1]),
        ("val", 1, Some(1880), vec![1, 0]),
        ("test", 1, Some(1880), vec![0, 1]),
    ];
    assert_eq!(numbers, want);
    assert_eq!(
        problems(&found),
        [
            "has 2 classes, published are 47",
            "has 2 images in its train split, published are 1880",
            "has 1 images in its val split, published are 1880",
            "has 1 images in its test split, published are 1880",
        ]
    );
    let mut no_test = dtd().files;
    no_test.retain(|(name, _)| name != "labels/test1.txt");
    assert!(problems(&checked(&no_test, false)).contains(&"has no test split"));
}

/// A whole DTD, with images of two pixels.
#[test]
fn a_whole_data_set_has_no_problems() {
    let mut files: Written = Vec::new();
    for (list, first) in [("train1", 0), ("val1", 40), ("test1", 80)] {
        let paths: Vec<String> = (0..47)
            .flat_map(|class| (first..first + 40).map(move |i| format!("kind{class:02}/{i}.jpg")))
            .collect();
        files.extend(paths.iter().map(|path| (format!("images/{path}"), testing::PNM.to_vec())));
        files.push((format!("labels/{list}.txt"), paths.join("\n").into_bytes()));
    }
    let dir =
        folder(&vec![("dtd-r1.0.1.tar.gz".into(), testing::gzip(&testing::tar(&inside("dtd", &files))))]);
    let found =
        check(dir.path(), Layout::Auto, 0, Depth { decode: true, ..Depth::default() }, false, &unwatched)
            .unwrap();
    assert_eq!(problems(&found), [""; 0]);
    assert_eq!(found.splits[2].per_class, [40; 47]);
    // One class has an image more than published, and another has one less.
    let list = files.iter_mut().find(|(name, _)| name == "labels/val1.txt").unwrap();
    list.1 = String::from_utf8(list.1.clone()).unwrap().replace("kind00/40.jpg", "kind01/0.jpg").into_bytes();
    assert_eq!(
        problems(&checked(&files, false)),
        ["has 39 images of kind00 in its val split, published are 40"]
    );
}

#[test]
fn a_check_lists_what_is_missing_and_broken() {
    let mut files = food(true).files;
    files.retain(|(name, _)| name != "images/egg/1.jpg" && name != "images/egg/2.jpg");
    let mut cut = testing::PNM.to_vec();
    cut.truncate(13);
    for (name, content) in [("images/pie/1.jpg", &b"text"[..]), ("images/pie/2.jpg", &cut)] {
        files.iter_mut().find(|(path, _)| path == name).unwrap().1 = content.into();
    }
    let found = checked(&files, false);
    let names: Vec<_> =
        found.missing.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["1.jpg", "2.jpg"]);
    let shown = problems(&found).join("\n");
    assert!(shown.contains("2 of 5 listed images are missing"), "{shown}");
    assert!(shown.contains("is not a jpeg"), "{shown}");
    // That a picture is cut off shows only when it is decoded.
    assert_eq!(found.problems.len() + 1, checked(&files, true).problems.len());

    let dir = folder(&vec![("food.tgz".into(), testing::gzip(&testing::tar(&files)))]);
    let packed =
        check(dir.path(), Layout::Auto, 0, Depth { decode: true, ..Depth::default() }, false, &unwatched)
            .unwrap();
    let broken = packed.problems.iter().find(|problem| problem.what.contains("is not a jpeg")).unwrap();
    assert!(broken.at.ends_with("food.tgz:images/pie/1.jpg"), "{}", broken.at);
    assert!(broken.mend.contains("get the archive again"), "{}", broken.mend);
}
