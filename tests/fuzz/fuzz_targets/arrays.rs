#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use svp_fuzz::datasets::{Form, folders, open};
use svp_fuzz::{Folder, start};

const CARS: &[&str] =
    &["car_ims/1.jpg", "car_ims/2.jpg", "cars_train/1.jpg", "cars_train/2.jpg", "cars_test/3.jpg"];

/// A data set for each kind of array file. An input chooses one by its place, so new ones go to the end.
const FORMS: &[Form] = &[
    Form { layout: "cifar100", opened: "", files: &["train", "test", "meta"], pictures: &[] },
    Form {
        layout: "cifar100",
        opened: "",
        files: &["train.bin", "test.bin", "fine_label_names.txt"],
        pictures: &[],
    },
    Form {
        layout: "cifar10",
        opened: "",
        files: &["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"],
        pictures: &[],
    },
    Form { layout: "svhn", opened: "", files: &["train_32x32.mat", "test_32x32.mat"], pictures: &[] },
    Form {
        layout: "flowers102",
        opened: "",
        files: &["setid.mat", "imagelabels.mat"],
        pictures: &[
            "jpg/image_00001.jpg",
            "jpg/image_00002.jpg",
            "jpg/image_00003.jpg",
            "jpg/image_00004.jpg",
        ],
    },
    Form {
        layout: "dogs",
        opened: "",
        files: &["train_list.mat", "test_list.mat"],
        pictures: &["Images/a/1.jpg", "Images/a/2.jpg", "Images/b/1.jpg", "Images/b/2.jpg"],
    },
    Form { layout: "cars", opened: "", files: &["cars_annos.mat"], pictures: CARS },
    Form {
        layout: "cars",
        opened: "",
        files: &["devkit/cars_train_annos.mat", "cars_test_annos_withlabels.mat", "devkit/cars_meta.mat"],
        pictures: CARS,
    },
];

static FOLDERS: LazyLock<Vec<Folder>> = LazyLock::new(|| folders(FORMS));

fuzz_target!(init: start(), |input: &[u8]| open(FORMS, &FOLDERS, input));
