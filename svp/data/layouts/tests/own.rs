//! Sets of one's own: folders and lists as people have them, and what is said about them.

use super::*;
use crate::files::Files;

/// Tables that are like CUB's and are not: another separator, other classes, a byte-order mark and the line ends of
/// Windows.
#[test]
fn tables_of_ones_own_are_read_and_told() {
    let own = files(&[
        (
            "images.txt",
            "\u{FEFF}1,cats/a.jpg\r\n2,cats\\b.jpg\r\n3,dogs/a.jpg\r\n4,dogs/b.jpg\r\n5,dogs/c.jpg\r\n",
        ),
        ("image_class_labels.txt", "1,cat\r\n2,cat\r\n3,dog\r\n4,dog\r\n5,dog\r\n"),
        ("train_test_split.txt", "1,1\r\n2,1\r\n3,1\r\n4,1\r\n5,0\r\n"),
        ("images/cats/a.jpg", ""),
        ("images/cats/b.jpg", ""),
        ("images/dogs/a.jpg", ""),
        ("images/dogs/b.jpg", ""),
        ("images/dogs/c.jpg", ""),
    ]);
    let dir = folder(&own);
    let data = open(dir.path(), Layout::Auto);
    assert_eq!(
        (data.layout, &data.classes[..]),
        (Layout::Tables, &["cat".to_string(), "dog".to_string()][..])
    );
    assert_eq!(listed(&data, data.test.as_ref().unwrap()), ["images/dogs/c.jpg 1"]);
    assert_eq!(data.train.len() + data.val.unwrap().len(), 4);
    for name in ["cub200", "nabirds"] {
        let message = Dataset::open(dir.path(), name.parse().unwrap(), 0, false).unwrap_err().to_string();
        let parts = ["images.txt: begins with \"1,cats/a.jpg\"", "a space and a path", "leave out --dataset"];
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
    let dir = folder(&cub().files);
    let message = Dataset::open(dir.path(), "nabirds".parse().unwrap(), 0, false).unwrap_err().to_string();
    assert!(message.contains("is the table of cub200"), "{message}");
    let notes = open(dir.path(), Layout::Auto).notes.join("\n");
    assert!(notes.contains("like CUB-200-2011, but with 2 classes instead of 200"), "{notes}");
}

/// With all its classes, a published data set is recognised by its paths.
#[test]
fn a_whole_published_set_is_told_by_its_classes() {
    let mut cub: Written = vec![];
    let paths: Vec<String> = (1..=200).map(|class| format!("{class:03}.Bird/B_{class}.jpg")).collect();
    let table = |row: fn(usize, &str) -> String| {
        paths.iter().enumerate().map(|(i, path)| row(i + 1, path)).collect::<String>().into_bytes()
    };
    cub.push(("images.txt".into(), table(|i, path| format!("{i} {path}\n"))));
    cub.push(("image_class_labels.txt".into(), table(|i, _| format!("{i} {i}\n"))));
    cub.push(("train_test_split.txt".into(), table(|i, _| format!("{i} 1\n"))));
    cub.extend(paths.iter().map(|path| (format!("images/{path}"), testing::PNM.to_vec())));
    assert_eq!(find(folder(&cub).path(), Layout::Auto, 0, false).unwrap().layout.name(), "cub200");
}

/// A folder of one's own called `Training` is no GTSRB.
#[test]
fn training_and_testing_are_splits() {
    for [train, val, test] in
        [["Training", "VALIDATION", "Testing"], ["train", "dev", "test"], ["TRAIN", "eval", "TEST"]]
    {
        let names = [(train, 3), (val, 1), (test, 2)];
        let all = names.iter().flat_map(|(split, n)| {
            let n = *n;
            ["glioma", "pituitary"].iter().flat_map(move |class| {
                (0..n).map(move |i| (format!("{split}/{class}/{i}.jpg"), testing::PNM.to_vec()))
            })
        });
        let dir = folder(&all.collect());
        let data = open(dir.path(), Layout::Auto);
        let counts = [data.train.len(), data.val.unwrap().len(), data.test.unwrap().len()];
        assert_eq!((data.layout, counts), (Layout::Folder, [6, 2, 4]), "{train}");
        let message = Dataset::open(dir.path(), "gtsrb".parse().unwrap(), 0, false).unwrap_err().to_string();
        assert!(message.contains("no GTSRB: looked for Training/00000 with"), "{message}");
    }
    // Five digits alone are no mark of GTSRB's either.
    let digits = ["00000", "00001"].map(|c| format!("Training/{c}/1.ppm"));
    let dir = folder(&files(&digits.each_ref().map(|name| (name.as_str(), ""))));
    assert_eq!(Dataset::open(dir.path(), Layout::Auto, 0, false).unwrap().layout, Layout::Folder);
}

/// The labels of a set of one's own may count from 1 and leave numbers out.
#[test]
fn labels_with_gaps_make_no_empty_classes() {
    let lists = files(&[
        ("train800.txt", "\u{FEFF}i\\1.jpg 1\r\n./i/2.jpg 7\r\n"),
        ("val200.txt", "i/3.jpg 3\n"),
        ("i/1.jpg", ""),
        ("i/2.jpg", ""),
        ("i/3.jpg", ""),
    ]);
    let data = open(folder(&lists).path(), Layout::Auto);
    assert_eq!(data.classes, ["1", "3", "7"]);
    assert_eq!(data.train.iter().map(|sample| sample.label).collect::<Vec<_>>(), [0, 2]);
    assert_eq!(
        data.notes[0],
        "the labels go from 1 to 7, with gaps: they are 3 classes, called by those numbers"
    );
    let json = files(&[
        ("train.json", "\u{FEFF}{\"a\\\\1.jpg\": 1, \"a/2.jpg\": 2,\r\n\"a/3.jpg\": 1}"),
        ("a/1.jpg", ""),
        ("a/2.jpg", ""),
        ("a/3.jpg", ""),
    ]);
    assert_eq!(open(folder(&json).path(), Layout::Auto).classes, ["1", "2"]);
}

/// What a check says about a folder of one's own: left-out pictures are problems, and advice is not about archives.
#[test]
fn a_check_of_ones_own_folder_tells_what_is_unseen() {
    let own = files(&[
        ("train/a/1.jpg", ""),
        ("train/a/2.jpg", ""),
        ("train/a/3.heic", "x"),
        ("train/b/1.jpg", ""),
        ("train/loose.png", ""),
        ("train/b/@eaDir/1.jpg/SYNOPHOTO_THUMB_M.jpg", ""),
        ("more/x/1.jpg", ""),
        ("train/a/notes.txt", "x"),
    ]);
    let found = checked(&own, true);
    let shown = problems(&found).join("\n");
    for part in ["1 image in no class folder: loose.png", "is no split", "it has 1 image", "(1 .heic)"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert_eq!(found.problems.len(), 3, "{shown}");
    assert!(found.problems.iter().all(|problem| !problem.mend.contains("archive")), "{:?}", found.problems);
    let notes = found.notes.join("\n");
    assert!(notes.contains("1 file (1 .txt)") && notes.contains("@eaDir"), "{notes}");
    let one = checked(&files(&[("train/a/1.jpg", ""), ("test/a/1.jpg", "")]), false);
    assert_eq!(problems(&one), ["has 1 class, training needs at least two"]);
    assert_eq!(one.problems[0].mend, "put images into the folders of their classes");
    // A class that lost all its images.
    let lost =
        files(&[("train/a/1.jpg", ""), ("train/b/1.jpg", "no picture"), ("train/b/2.jpg", "nor this")]);
    assert!(problems(&checked(&lost, false))[0].contains("class \"b\": not one of 2 images to train on"));
}

#[test]
fn a_test_split_without_labels_is_left_out() {
    let labelled = ["train/a/1.jpg", "train/a/2.jpg", "train/b/1.jpg", "val/a/1.jpg"];
    for test in [&["test/0.jpg", "test/1.jpg"][..], &["Test/images/0.jpg", "Test/images/1.jpg"]] {
        let all: Vec<(&str, &str)> = labelled.iter().chain(test).map(|name| (*name, "")).collect();
        let dir = folder(&files(&all));
        let data = open(dir.path(), Layout::Auto);
        assert_eq!((data.train.len(), data.test.is_none()), (3, true));
        let notes = data.notes.join("\n");
        assert!(notes.contains("2 images in no class folder") && notes.contains("no test split"), "{notes}");
        let found = check(dir.path(), Layout::Auto, 0, Depth::default(), false, &unwatched).unwrap();
        assert_eq!((problems(&found), found.notes.len()), (vec![], 1));
    }
    // Loose images beside class folders are left out, and the split stays.
    let dir = folder(&files(
        &[&labelled.map(|name| (name, ""))[..], &[("test/a/1.jpg", ""), ("test/x.jpg", "")]].concat(),
    ));
    let data = open(dir.path(), Layout::Auto);
    assert_eq!(data.test.unwrap().len(), 1);
    assert!(data.notes[0].contains("1 image in no class folder: x.jpg"), "{:?}", data.notes);
}

/// Classes without splits: a share of each class is held out for test, by the seed.
#[test]
fn class_folders_without_splits_are_split() {
    let names: Vec<String> =
        ["cat", "dog"].iter().flat_map(|c| (0..10).map(move |i| format!("pets/{c}/{i}.jpg"))).collect();
    let all: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    let dir = folder(&files(&[&all[..], &[("readme.txt", "x")]].concat()));
    let split = |seed| {
        let data = Dataset::open(dir.path(), Layout::Auto, seed, false).unwrap();
        data.hold_out_test(seed, 0.2).unwrap().hold_out(seed, 0.25).unwrap()
    };
    let data = split(0);
    assert_eq!(
        (data.layout, &data.classes[..]),
        (Layout::Folder, &["cat".to_string(), "dog".to_string()][..])
    );
    let test = data.test.clone().unwrap();
    let count = |samples: &[Sample]| [0, 1].map(|label| samples.iter().filter(|s| s.label == label).count());
    assert_eq!(
        [count(&data.train), count(data.val.as_ref().unwrap()), count(&test)],
        [[6, 6], [2, 2], [2, 2]]
    );
    assert_eq!(split(0).fingerprint(), data.fingerprint());
    assert_ne!(split(1).test, data.test);
    let notes = data.notes.join("\n");
    assert!(notes.contains("no splits: held out 4 of 20 images for test, stratified, seed 0"), "{notes}");
    let whole = Dataset::open(dir.path(), Layout::Auto, 0, false).unwrap().hold_out_test(0, 0.0).unwrap();
    assert!(whole.test.is_none() && whole.notes.last().unwrap().starts_with("no test split"));
    let wrong = Dataset::open(dir.path(), Layout::Auto, 0, false).unwrap().hold_out_test(0, 1.0).unwrap_err();
    assert!(wrong.to_string().contains("test-fraction"), "{wrong}");
}

#[test]
fn lists_of_ones_own_are_read() {
    let pictures = [("i/1.jpg", ""), ("i/2, two.jpg", ""), ("i/3.jpg", ""), ("i/4.jpg", ""), ("i/5.jpg", "")];
    let of = |name: &str, text: &str| {
        let dir = folder(&files(&[&pictures[..], &[(name, text)]].concat()));
        let data = Dataset::open(&dir.path().join(name), Layout::Auto, 0, false);
        data.map(|data| {
            let splits = [Some(&data.train), data.val.as_ref(), data.test.as_ref()];
            (
                data.classes.clone(),
                splits.map(|samples| samples.map(|samples| listed(&data, samples))),
                data.notes,
            )
        })
    };
    let (classes, [train, val, test], _) = of(
        "a.csv",
        "\u{FEFF}path,label,split\r\ni\\1.jpg,cat,Training\r\n\"i/2, two.jpg\",dog,train\r\ni/3.jpg,dog,valid\r\n\
         i/4.jpg,cat,test\r\ni/5.jpg,,test\r\n",
    )
    .unwrap();
    assert_eq!(classes, ["cat", "dog"]);
    assert_eq!(train.unwrap(), ["i/1.jpg 0", "i/2, two.jpg 1"]);
    assert_eq!((val.unwrap(), test.unwrap()), (vec!["i/3.jpg 1".into()], vec!["i/4.jpg 0".into()]));
    // Without a header and without splits; labels with gaps.
    for (name, text) in [
        ("b.csv", "i/1.jpg,3\ni/3.jpg,10\ni/4.jpg,3\n"),
        ("b.tsv", "i/1.jpg\t3\ni/3.jpg\t10\ni/4.jpg\t3\n"),
        ("c.CSV", "label;file_name\n3;i/1.jpg\n10;i/3.jpg\n3;i/4.jpg\n"),
        (
            "d.jsonl",
            "{\"file_name\": \"i/1.jpg\", \"label\": 3}\n{\"file_name\": \"i/3.jpg\", \"label\": 10}\n{\"label\": 3, \"file_name\": \"i/4.jpg\"}\n",
        ),
    ] {
        let (classes, [train, val, test], notes) = of(name, text).unwrap();
        assert_eq!((classes, val, test), (vec!["3".into(), "10".into()], None, None), "{name}");
        assert_eq!(train.unwrap(), ["i/1.jpg 0", "i/3.jpg 1", "i/4.jpg 0"]);
        assert!(notes[0].starts_with("the labels go from 3 to 10, with gaps"), "{notes:?}");
    }
    for (text, parts) in [
        ("path,label\ni/1.jpg,a\ni/9.jpg,b\n", &["a.csv", "1 of 2 listed images are missing", "i/9.jpg"][..]),
        ("path,kind\ni/1.jpg,a\n", &["a.csv", "has no labels", "call the column of classes label"]),
        ("label,kind\na,a\n", &["has the columns label, kind"]),
        ("path,label,split\ni/1.jpg,a,train\ni/3.jpg,b,later\n", &["a.csv:3", "\"later\" is not a split"]),
        ("path,label,split\ni/1.jpg,a,train\ni/3.jpg,b,test\n", &["a.csv:3", "\"b\" has no training image"]),
        ("", &["lists no images"]),
        ("path,label\ni/1.jpg,a\ni/3.jpg,\n", &["a.csv:3", "a path with a label"]),
        ("one\n", &["has the columns one"]),
    ] {
        let message = of("a.csv", text).unwrap_err().to_string();
        assert!(
            parts.iter().all(|part| message.contains(part)) && !message.contains('\n'),
            "{parts:?}: {message}"
        );
    }
}

#[test]
fn folders_with_metadata_are_read() {
    let all = files(&[
        ("train/metadata.csv", "file_name,label,text\n1.jpg,cat,\"a, b\"\nx/2.jpg,dog,c\n"),
        ("test/metadata.jsonl", "{\"file_name\": \"1.jpg\", \"label\": \"dog\"}\n"),
        ("train/1.jpg", ""),
        ("train/x/2.jpg", ""),
        ("test/1.jpg", ""),
    ]);
    let dir = folder(&all);
    let data = Dataset::open(dir.path(), Layout::Auto, 0, false).unwrap();
    assert_eq!(
        (data.layout, &data.classes[..]),
        (Layout::Metadata, &["cat".to_string(), "dog".to_string()][..])
    );
    assert_eq!(listed(&data, &data.train), ["train/1.jpg 0", "train/x/2.jpg 1"]);
    assert_eq!(listed(&data, data.test.as_ref().unwrap()), ["test/1.jpg 1"]);
    // One list for all; the folders name the splits.
    let joint = files(&[
        ("metadata.csv", "file_name,label\ntrain/1.jpg,1\ntrain/2.jpg,2\nval/1.jpg,2\n"),
        ("train/1.jpg", ""),
        ("train/2.jpg", ""),
        ("val/1.jpg", ""),
    ]);
    let dir = folder(&joint);
    let data = Dataset::open(dir.path(), Layout::Auto, 0, false).unwrap();
    assert_eq!(listed(&data, data.val.as_ref().unwrap()), ["val/1.jpg 1"]);
    assert!(data.notes[0].starts_with("the labels go from 1 to 2:"), "{:?}", data.notes);
    // A list without labels leaves the classes to the folders.
    let texts = files(&[
        ("train/metadata.csv", "file_name,text\na/1.jpg,x\nb/1.jpg,y\n"),
        ("train/a/1.jpg", ""),
        ("train/b/1.jpg", ""),
    ]);
    assert_eq!(Dataset::open(folder(&texts).path(), Layout::Auto, 0, false).unwrap().layout, Layout::Folder);
}

/// Names that would steer a terminal are shown as escapes, in notes and errors.
#[cfg(unix)]
#[test]
fn hostile_names_are_shown_in_one_line() {
    let odd = "a\x1b[31m\nb\u{202e}";
    let dir = folder(&files(&[
        (&format!("train/{odd}/1.jpg"), ""),
        ("train/c/1.jpg", ""),
        (&format!("{odd}/1.jpg"), ""),
        (&format!("train/{odd}.jpg"), ""),
    ]));
    let data = Dataset::open(dir.path(), Layout::Auto, 0, false).unwrap();
    assert_eq!(data.classes[0], odd);
    let steers = |text: &str| text.contains(['\x1b', '\n', '\u{202e}']);
    assert!(data.notes.iter().all(|note| !steers(note)), "{:?}", data.notes);
    assert!(data.notes.iter().any(|note| note.contains("a\\u{1b}[31m\\nb\\u{202e}")), "{:?}", data.notes);
    fs::remove_file(dir.path().join(format!("train/{odd}/1.jpg"))).unwrap();
    let message = Dataset::open(dir.path(), Layout::Auto, 0, false).unwrap_err().to_string();
    assert!(message.contains("has no image") && !steers(&message), "{message}");
}

/// A data set comes from others, so its lists name what is in it and nothing else, in folders and in archives, unless that
/// is allowed. A list that is given itself is one's own, and may name any file.
#[test]
fn only_a_list_of_ones_own_leads_out_of_its_folder() {
    let place = folder(&files(&[("private/1.jpg", ""), ("set/i/1.jpg", ""), ("set/i/2.jpg", "")]));
    let at = |path: &str| place.path().join(path);
    let private = at("private/1.jpg");
    let private = private.to_str().unwrap();
    for path in ["../private/1.jpg", "i/../../private/1.jpg", ".\\..\\private\\1.jpg", private] {
        let list = serde_json::json!({ "i/1.jpg": 0, "i/2.jpg": 1, path: 1 }).to_string();
        let list = files(&[("train.json", &list)]);
        testing::write(&at("set"), &list);
        testing::write(&at("mixed"), &vec![("set.zip".into(), testing::zip(&list))]);
        let images = files(&[("i/1.jpg", ""), ("i/2.jpg", "")]);
        testing::write(&at("mixed"), &images);
        testing::write(&at(""), &vec![("set.tar".into(), testing::tar(&[list, images].concat()))]);
        for set in ["set", "mixed", "set.tar"] {
            let message = Dataset::open(&at(set), Layout::Json, 0, false).unwrap_err().to_string();
            let parts = ["train.json", "outside of the data set", "1.jpg", "--allow-outside"];
            assert!(parts.iter().all(|part| message.contains(part)), "{set}, {path}: {message}");
        }
        let allowed = Dataset::open(&at("set"), Layout::Json, 0, true).unwrap();
        assert_eq!(allowed.train.len(), 3, "{path}");
        assert!(allowed.train.iter().all(|sample| sample.source.load().is_ok()), "{path}");
        let rows = format!("path,label\n{path},a\ni/1.jpg,b\n");
        testing::write(&at("set"), &files(&[("own.csv", &rows)]));
        let found = find(&at("set/own.csv"), Layout::Auto, 0, false).unwrap();
        assert_eq!((found.splits.train.len(), found.splits.missing.len()), (2, 0), "{path}");
        assert!(found.splits.train[0].source.load().is_ok(), "{path}");
    }
    // Inside of the data set a path may go up.
    let list = serde_json::json!({ "i/../i/1.jpg": 0, "./i/2.jpg": 1 }).to_string();
    testing::write(&at("set"), &files(&[("train.json", &list)]));
    assert_eq!(Dataset::open(&at("set"), Layout::Json, 0, false).unwrap().train.len(), 2);
}

/// What is hidden or belongs to other programs is passed over and counted, on disk and in archives alike.
#[test]
fn hidden_images_are_counted_in_archives_too() {
    let all = files(&[
        ("train/a/1.jpg", ""),
        ("train/a/.1.jpg", ""),
        ("train/b/1.jpg", ""),
        ("train/b/._1.jpg", ""),
        ("train/b/@eaDir/1.jpg", ""),
        ("train/b/@eaDir/2.jpg", ""),
        ("train/.git/1.jpg", ""),
        ("train/b/.hidden.txt", ""),
    ]);
    let dir = folder(&inside("set", &all));
    let packed = [("set.zip", testing::zip(&all)), ("set.tgz", testing::gzip(&testing::tar(&all)))];
    testing::write(dir.path(), &packed.map(|(name, bytes)| (name.to_string(), bytes)).into());
    let notes = |name: &str| -> Vec<String> {
        let path = dir.path().join(name);
        let notes = Dataset::open(&path, Layout::Auto, 0, false).unwrap().notes.into_iter();
        let own = notes.filter(|note| note.starts_with("left out"));
        own.map(|note| note.replace(path.to_str().unwrap(), "")).collect()
    };
    let want = [
        "left out: 2 hidden images: /train/a/.1.jpg, /train/b/._1.jpg",
        "left out: 1 folder in which other programs keep thumbnails or deleted files: /train/b/@eaDir",
    ];
    for name in ["set", "set.zip", "set.tgz"] {
        assert_eq!(notes(name), want, "{name}");
    }
    let outside = [&all[..], &files(&[("../out.jpg", "")])].concat();
    testing::write(dir.path(), &vec![("out.tar".into(), testing::tar(&outside))]);
    let want = "left out: 1 image with .. in the path in an archive: /../out.jpg";
    assert!(notes("out.tar").contains(&want.to_string()), "{:?}", notes("out.tar"));
}

/// A named pipe would let a reader wait for ever. It is told like a broken image.
#[test]
#[cfg(unix)]
fn a_named_pipe_is_told_and_not_waited_for() {
    let dir = folder(&files(&[("a/1.jpg", ""), ("b/1.jpg", ""), ("b/2.jpg", "")]));
    let pipe = |name: &str| {
        let path = dir.path().join(name);
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    };
    pipe("a/2.jpg");
    pipe("a/notes");
    let checked = check(dir.path(), Layout::Auto, 0, Depth::default(), false, &unwatched).unwrap();
    let [problem] = &checked.problems[..] else { panic!("{:?}", checked.problems) };
    assert!(problem.at.ends_with("a/2.jpg") && problem.what.contains("is a named pipe"), "{problem:?}");
    assert!(checked.notes.iter().any(|note| note.contains("1 without an ending")), "{:?}", checked.notes);
    for name in ["data.tar", "list.csv"] {
        let message = Dataset::open(&pipe(name), Layout::Auto, 0, false).unwrap_err().to_string();
        assert!(message.contains(name) && message.contains("is a named pipe"), "{message}");
    }
}

/// Finding out that nothing is there lists each folder once.
#[test]
fn what_is_not_there_is_looked_for_in_lists_of_folders() {
    let dir = folder(&files(&[("a/readme.txt", ""), ("a/b/1.jpg", "")]));
    let files = Files::folder(dir.path());
    assert!(files.has("a/readme.txt") && files.has("a/b/1.jpg") && files.has("a/../a/readme.txt"));
    // What comes later is not looked for again.
    testing::write(dir.path(), &vec![("a/later.txt".into(), vec![]), ("c/1.jpg".into(), vec![])]);
    assert!(!files.has("a/later.txt") && !files.has("c/1.jpg") && !files.has("a"));
    assert!(Files::folder(dir.path()).has("a/later.txt"));
}
