#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use svp_fuzz::datasets::{Form, folders, open};
use svp_fuzz::{Folder, start};

const TWO_CLASSES: &[&str] = &["a/1.ppm", "a/2.ppm", "a/3.ppm", "b/1.ppm", "b/2.ppm", "b/3.ppm"];
const BIRDS: &[&str] = &["images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt"];
const BIRD_PICTURES: &[&str] =
    &["images/001.A/1.jpg", "images/001.A/2.jpg", "images/002.B/1.jpg", "images/002.B/2.jpg"];
const JSON: &[&str] = &["train.json", "val.json", "test.json"];

/// A data set for each kind of list. An input chooses one by its place, so new ones go to the end.
const FORMS: &[Form] = &[
    Form {
        layout: "vtab",
        opened: "",
        files: &["train800.txt", "val200.txt", "test.txt"],
        pictures: TWO_CLASSES,
    },
    Form { layout: "vtab", opened: "", files: &["train800val200.txt", "test.txt"], pictures: TWO_CLASSES },
    Form { layout: "json", opened: "", files: JSON, pictures: TWO_CLASSES },
    Form { layout: "csv", opened: "list.csv", files: &["list.csv"], pictures: TWO_CLASSES },
    Form { layout: "csv", opened: "list.tsv", files: &["list.tsv"], pictures: TWO_CLASSES },
    Form { layout: "csv", opened: "list.jsonl", files: &["list.jsonl"], pictures: TWO_CLASSES },
    Form { layout: "metadata", opened: "", files: &["metadata.csv"], pictures: TWO_CLASSES },
    Form { layout: "metadata", opened: "", files: &["metadata.jsonl"], pictures: TWO_CLASSES },
    Form { layout: "tables", opened: "", files: BIRDS, pictures: BIRD_PICTURES },
    Form { layout: "cub200", opened: "", files: BIRDS, pictures: BIRD_PICTURES },
    Form { layout: "nabirds", opened: "", files: BIRDS, pictures: BIRD_PICTURES },
    Form {
        layout: "food101",
        opened: "",
        files: &["meta/train.json", "meta/test.json"],
        pictures: &["images/a/1.jpg", "images/a/2.jpg", "images/b/1.jpg", "images/b/2.jpg"],
    },
    Form {
        layout: "lists",
        opened: "",
        files: &["meta/train.txt", "meta/test.txt"],
        pictures: &["images/a/1.jpg", "images/a/2.jpg", "images/b/1.jpg", "images/b/2.jpg"],
    },
    Form {
        layout: "dtd",
        opened: "",
        files: &["labels/train1.txt", "labels/val1.txt", "labels/test1.txt"],
        pictures: &["images/a/1.jpg", "images/a/2.jpg", "images/b/1.jpg", "images/b/2.jpg"],
    },
    Form {
        layout: "gtsrb",
        opened: "",
        files: &["GT-final_test.csv"],
        pictures: &[
            "GTSRB/Training/00000/1.ppm",
            "GTSRB/Training/00000/2.ppm",
            "GTSRB/Training/00001/1.ppm",
            "GTSRB/Training/00001/2.ppm",
            "GTSRB/Final_Test/Images/00000.ppm",
            "GTSRB/Final_Test/Images/00001.ppm",
        ],
    },
    Form { layout: "dogs", opened: "", files: JSON, pictures: &["Images/a/1.jpg", "Images/b/1.jpg"] },
    Form { layout: "auto", opened: "", files: JSON, pictures: &["images/0295/1.jpg", "images/0533/1.jpg"] },
];

static FOLDERS: LazyLock<Vec<Folder>> = LazyLock::new(|| folders(FORMS));

fuzz_target!(init: start(), |input: &[u8]| open(FORMS, &FOLDERS, input));
