//! Small data sets that look like the published ones, for tests.

use super::splits::{BINARY, JSON, LISTS, MAT, PICKLES, PPM, TABLES};
use crate::testing::{self, Written, files};

/// A small data set that looks like a published one.
pub struct Example {
    pub name: &'static str,
    pub form: &'static str,
    pub files: Written,
    pub classes: Vec<&'static str>,
    /// Paths or numbers of the samples below the folder, with their labels.
    pub train: Vec<&'static str>,
    pub val: Option<Vec<&'static str>>,
    pub test: Vec<&'static str>,
}

/// Pictures of one value each: `n`, then `n + 1`, and so on.
pub fn pixels(n: u8, count: usize) -> Vec<u8> {
    (0..count).flat_map(|i| [n + i as u8; 3072]).collect()
}

pub fn cifar(pickled: bool) -> Example {
    let names: Vec<String> = (0..10).map(|i| format!("kind {i}")).collect();
    let mut files: Written = Vec::new();
    for batch in 1..=5 {
        let (labels, pixels) = ([0, batch], pixels(10 * batch, 2));
        let record = |i: usize| [&labels[i..=i], &pixels[i * 3072..][..3072]].concat();
        files.push(match pickled {
            true => (format!("data_batch_{batch}"), testing::cifar_pickle("labels", &labels, &pixels)),
            false => (format!("data_batch_{batch}.bin"), [record(0), record(1)].concat()),
        });
    }
    match pickled {
        true => {
            files.push(("test_batch".into(), testing::cifar_pickle("labels", &[9], &pixels(99, 1))));
            files.push(("batches.meta".into(), testing::names_pickle("label_names", &names)));
        }
        false => {
            files.push(("test_batch.bin".into(), [vec![9], pixels(99, 1)].concat()));
            files.push(("batches.meta.txt".into(), (names.join("\n") + "\n\n").into_bytes()));
        }
    }
    let file = |path: &'static str| if pickled { path.to_string() } else { path.replace(':', ".bin:") };
    let leak = |path: &'static str| -> &'static str { file(path).leak() };
    Example {
        name: "cifar10",
        form: if pickled { PICKLES } else { BINARY },
        files,
        classes: names.into_iter().map(|name| &*name.leak()).collect(),
        train: [
            "data_batch_1:0 0",
            "data_batch_1:1 1",
            "data_batch_2:0 0",
            "data_batch_2:1 2",
            "data_batch_3:0 0",
            "data_batch_3:1 3",
            "data_batch_4:0 0",
            "data_batch_4:1 4",
            "data_batch_5:0 0",
            "data_batch_5:1 5",
        ]
        .map(leak)
        .into(),
        val: None,
        test: vec![leak("test_batch:0 9")],
    }
}

pub fn cifar_100(pickled: bool) -> Example {
    let names: Vec<String> = (0..100).map(|i| format!("kind {i}")).collect();
    let records = |fine: [u8; 2]| [vec![7, fine[0]], pixels(1, 1), vec![7, fine[1]], pixels(2, 1)].concat();
    let pickle = |fine: [u8; 2]| testing::cifar_pickle("fine_labels", &fine, &pixels(1, 2));
    let files = match pickled {
        true => vec![
            ("train".into(), pickle([99, 99])),
            ("test".into(), pickle([0, 1])),
            ("meta".into(), testing::names_pickle("fine_label_names", &names)),
        ],
        false => vec![
            ("train.bin".into(), records([99, 99])),
            ("test.bin".into(), records([0, 1])),
            ("fine_label_names.txt".into(), names.join("\n").into_bytes()),
        ],
    };
    let [train, test] = match pickled {
        true => [["train:0 99", "train:1 99"], ["test:0 0", "test:1 1"]],
        false => [["train.bin:0 99", "train.bin:1 99"], ["test.bin:0 0", "test.bin:1 1"]],
    };
    Example {
        name: "cifar100",
        form: if pickled { PICKLES } else { BINARY },
        files,
        classes: names.into_iter().map(|name| &*name.leak()).collect(),
        train: train.into(),
        val: None,
        test: test.into(),
    }
}

pub fn svhn() -> Example {
    let file = |labels: &[u8]| {
        let x = testing::matrix(
            9,
            &[32, 32, 3, labels.len()],
            "X",
            &[testing::element(2, &pixels(1, labels.len()))],
        );
        let y = testing::packed_doubles("y", labels);
        testing::mat(&[testing::compressed(&x), testing::compressed(&y)])
    };
    Example {
        name: "svhn",
        form: MAT,
        files: vec![
            ("train_32x32.mat".into(), file(&[1, 10, 2, 9, 1])),
            ("test_32x32.mat".into(), file(&[10])),
        ],
        classes: vec!["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
        train: vec![
            "train_32x32.mat:0 1",
            "train_32x32.mat:1 0",
            "train_32x32.mat:2 2",
            "train_32x32.mat:3 9",
        ],
        val: Some(vec!["train_32x32.mat:4 1"]),
        test: vec!["test_32x32.mat:0 0"],
    }
}

pub fn gtsrb() -> Example {
    let csv = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId\n\
               00000.ppm; 53;54; 6;5;48;49; 1\r\n00001.ppm;53;54;6;5;48;49;0\n";
    Example {
        name: "gtsrb",
        form: PPM,
        files: files(&[
            ("GTSRB/Training/00000/00000_00000.ppm", ""),
            ("GTSRB/Training/00000/00000_00001.PPM", ""),
            ("GTSRB/Training/00000/GT-00000.csv", "Filename"),
            ("GTSRB/Training/00001/00000_00000.ppm", ""),
            ("GTSRB/Training/00001/00000_00001.ppm", ""),
            ("GTSRB/Training/00001/00000_00002.ppm", ""),
            ("GTSRB/Final_Test/Images/00000.ppm", ""),
            ("GTSRB/Final_Test/Images/00001.ppm", ""),
            ("GT-final_test.csv", csv),
        ]),
        classes: vec!["00000", "00001"],
        // shuffled(5, 0) is 2 1 0 4 3.
        train: vec![
            "GTSRB/Training/00001/00000_00000.ppm 1",
            "GTSRB/Training/00000/00000_00001.PPM 0",
            "GTSRB/Training/00000/00000_00000.ppm 0",
            "GTSRB/Training/00001/00000_00002.ppm 1",
        ],
        val: Some(vec!["GTSRB/Training/00001/00000_00001.ppm 1"]),
        test: vec!["GTSRB/Final_Test/Images/00000.ppm 1", "GTSRB/Final_Test/Images/00001.ppm 0"],
    }
}

pub fn food(json: bool) -> Example {
    let mut all = files(&[
        ("images/pie/1.jpg", ""),
        ("images/pie/2.jpg", ""),
        ("images/pie/3.jpg", ""),
        ("images/egg/1.jpg", ""),
        ("images/egg/2.jpg", ""),
        ("images/egg/3.jpg", ""),
    ]);
    all.extend(match json {
        true => files(&[
            ("meta/train.json", r#"{"pie": ["pie/1", "pie/2", "pie/3"], "egg": ["egg/1", "egg/2"]}"#),
            ("meta/test.json", r#"{"egg": ["egg/3"]}"#),
        ]),
        false => {
            files(&[("meta/train.txt", "pie/1\npie/2\npie/3\negg/1\negg/2\n"), ("meta/test.txt", "egg/3\n")])
        }
    });
    Example {
        name: "food101",
        form: LISTS,
        files: all,
        classes: vec!["egg", "pie"],
        train: vec!["images/pie/3.jpg 1", "images/pie/2.jpg 1", "images/pie/1.jpg 1", "images/egg/2.jpg 0"],
        val: Some(vec!["images/egg/1.jpg 0"]),
        test: vec!["images/egg/3.jpg 0"],
    }
}

pub fn dtd() -> Example {
    Example {
        name: "dtd",
        form: LISTS,
        files: files(&[
            ("labels/train1.txt", "woven/w_1.jpg\nbanded/b_1.jpg\n"),
            ("labels/val1.txt", "banded/b_2.jpg\n"),
            ("labels/test1.txt", "woven/w_2.jpg\n"),
            ("images/woven/w_1.jpg", ""),
            ("images/woven/w_2.jpg", ""),
            ("images/banded/b_1.jpg", ""),
            ("images/banded/b_2.jpg", ""),
        ]),
        classes: vec!["banded", "woven"],
        train: vec!["images/woven/w_1.jpg 1", "images/banded/b_1.jpg 0"],
        val: Some(vec!["images/banded/b_2.jpg 0"]),
        test: vec!["images/woven/w_2.jpg 1"],
    }
}

pub fn flowers() -> Example {
    let mut all = files(&[
        ("jpg/image_00001.jpg", ""),
        ("jpg/image_00002.jpg", ""),
        ("jpg/image_00003.jpg", ""),
        ("jpg/image_00004.jpg", ""),
    ]);
    let sets = [
        testing::packed_doubles("trnid", &[4, 1]),
        testing::packed_doubles("valid", &[3]),
        testing::packed_doubles("tstid", &[2]),
    ];
    all.push(("setid.mat".into(), testing::mat(&sets)));
    all.push(("imagelabels.mat".into(), testing::mat(&[testing::packed_doubles("labels", &[1, 2, 1, 2])])));
    Example {
        name: "flowers102",
        form: MAT,
        files: all,
        classes: vec!["1", "2"],
        train: vec!["jpg/image_00004.jpg 1", "jpg/image_00001.jpg 0"],
        val: Some(vec!["jpg/image_00003.jpg 0"]),
        test: vec!["jpg/image_00002.jpg 1"],
    }
}

pub fn dogs() -> Example {
    let mut all = files(&[
        ("Images/n02085620-Chihuahua/n02085620_1.jpg", ""),
        ("Images/n02085620-Chihuahua/n02085620_2.jpg", ""),
        ("Images/n02112706-Brabancon_griffon/n02112706_1.jpg", ""),
        ("Images/n02112706-Brabancon_griffon/n02112706_2.jpg", ""),
        ("Images/n02112706-Brabancon_griffon/n02112706_3.jpg", ""),
    ]);
    let list = |paths: &[&str], labels: &[f64]| {
        testing::mat(&[testing::texts("file_list", paths), testing::doubles("labels", labels)])
    };
    let train = [
        "n02085620-Chihuahua/n02085620_1.jpg",
        "n02112706-Brabancon_griffon/n02112706_1.jpg",
        "n02112706-Brabancon_griffon/n02112706_2.jpg",
        "n02085620-Chihuahua/n02085620_2.jpg",
    ];
    all.push(("train_list.mat".into(), list(&train, &[1.0, 2.0, 2.0, 1.0])));
    all.push(("test_list.mat".into(), list(&["n02112706-Brabancon_griffon/n02112706_3.jpg"], &[2.0])));
    Example {
        name: "dogs",
        form: MAT,
        files: all,
        classes: vec!["n02085620-Chihuahua", "n02112706-Brabancon_griffon"],
        train: vec![
            "Images/n02085620-Chihuahua/n02085620_1.jpg 0",
            "Images/n02112706-Brabancon_griffon/n02112706_1.jpg 1",
            "Images/n02112706-Brabancon_griffon/n02112706_2.jpg 1",
            "Images/n02085620-Chihuahua/n02085620_2.jpg 0",
        ],
        val: None,
        test: vec!["Images/n02112706-Brabancon_griffon/n02112706_3.jpg 1"],
    }
}

pub fn cars(joint: bool) -> Example {
    let row = |path: &str, class: f64, test: f64| {
        vec![testing::text("", path), testing::doubles("", &[class]), testing::doubles("", &[test])]
    };
    let names = testing::texts("class_names", &["AM General Hummer", "Acura RL"]);
    let (path, folder) = if joint { ("relative_im_path", "car_ims/") } else { ("fname", "") };
    let image = |name: &str| format!("{folder}{name}");
    let annotations = |rows: &[(&str, f64, f64)]| {
        let rows: Vec<_> = rows.iter().map(|&(name, class, test)| row(&image(name), class, test)).collect();
        testing::structs("annotations", &[path, "class", "test"], &rows)
    };
    let train = [("1.jpg", 2.0, 0.0), ("2.jpg", 1.0, 0.0), ("4.jpg", 2.0, 0.0), ("5.jpg", 1.0, 0.0)];
    let test = [("3.jpg", 1.0, 1.0)];
    let (mut all, paths) = if joint {
        let images = ["car_ims/1.jpg", "car_ims/2.jpg", "car_ims/3.jpg", "car_ims/4.jpg", "car_ims/5.jpg"];
        (
            files(&images.map(|name| (name, ""))),
            ["car_ims/1.jpg 1", "car_ims/2.jpg 0", "car_ims/4.jpg 1", "car_ims/5.jpg 0", "car_ims/3.jpg 0"],
        )
    } else {
        let images = [
            "cars_train/1.jpg",
            "cars_train/2.jpg",
            "cars_test/3.jpg",
            "cars_train/4.jpg",
            "cars_train/5.jpg",
        ];
        (
            files(&images.map(|name| (name, ""))),
            [
                "cars_train/1.jpg 1",
                "cars_train/2.jpg 0",
                "cars_train/4.jpg 1",
                "cars_train/5.jpg 0",
                "cars_test/3.jpg 0",
            ],
        )
    };
    if joint {
        let file = testing::mat(&[annotations(&[&train[..], &test].concat()), names]);
        all.push(("cars_annos.mat".into(), file));
    } else {
        all.push(("devkit/cars_train_annos.mat".into(), testing::mat(&[annotations(&train)])));
        all.push(("cars_test_annos_withlabels.mat".into(), testing::mat(&[annotations(&test)])));
        all.push(("devkit/cars_meta.mat".into(), testing::mat(&[names])));
    }
    Example {
        name: "cars",
        form: MAT,
        files: all,
        classes: vec!["AM General Hummer", "Acura RL"],
        train: paths[..4].into(),
        val: None,
        test: paths[4..].into(),
    }
}

pub fn cub() -> Example {
    Example {
        name: "cub200",
        form: TABLES,
        files: files(&[
            (
                "images.txt",
                "1 001.Albatross/A_1.jpg\n2 001.Albatross/A_2.jpg\n3 002.Auklet/B_1.jpg\n4 002.Auklet/B_2.jpg\n5 001.Albatross/A_3.jpg\n",
            ),
            ("image_class_labels.txt", "1 1\n2 1\n3 2\n4 2\n5 1\n"),
            ("train_test_split.txt", "1 1\n2 1\n3 1\n4 1\n5 0\n"),
            ("classes.txt", "1 001.Albatross\n2 002.Auklet\n"),
            ("images/001.Albatross/A_1.jpg", ""),
            ("images/001.Albatross/A_2.jpg", ""),
            ("images/001.Albatross/A_3.jpg", ""),
            ("images/002.Auklet/B_1.jpg", ""),
            ("images/002.Auklet/B_2.jpg", ""),
        ]),
        classes: vec!["001.Albatross", "002.Auklet"],
        train: vec![
            "images/001.Albatross/A_1.jpg 0",
            "images/001.Albatross/A_2.jpg 0",
            "images/002.Auklet/B_1.jpg 1",
            "images/002.Auklet/B_2.jpg 1",
        ],
        val: None,
        test: vec!["images/001.Albatross/A_3.jpg 0"],
    }
}

pub fn nabirds() -> Example {
    Example {
        name: "nabirds",
        form: TABLES,
        files: files(&[
            (
                "images.txt",
                "00-a1 0817/a1.jpg\n00-a2 0295/a2.JPG\n00-a3 0817/a3.jpg\n00-a4 0295/a4.jpg\n00-a5 0295/a5.jpg\n",
            ),
            ("image_class_labels.txt", "00-a1 817\n00-a2 295\n00-a3 817\n00-a4 295\n00-a5 295\n"),
            ("train_test_split.txt", "00-a1 1\n00-a2 1\n00-a3 1\n00-a4 1\n00-a5 0\n"),
            ("classes.txt", "0 Birds\n295 Common Eider (Adult male)\n817 Oak Titmouse\n"),
            ("images/0817/a1.jpg", ""),
            ("images/0817/a3.jpg", ""),
            ("images/0295/a2.JPG", ""),
            ("images/0295/a4.jpg", ""),
            ("images/0295/a5.jpg", ""),
        ]),
        classes: vec!["Common Eider (Adult male)", "Oak Titmouse"],
        train: vec![
            "images/0817/a1.jpg 1",
            "images/0295/a2.JPG 0",
            "images/0817/a3.jpg 1",
            "images/0295/a4.jpg 0",
        ],
        val: None,
        test: vec!["images/0295/a5.jpg 0"],
    }
}

/// VPT-style splits of a published data set, which is told by their paths.
pub fn splits(
    name: &'static str,
    base: &'static str,
    keys: [&'static str; 4],
    ids: [&'static str; 2],
    classes: [&'static str; 2],
) -> Example {
    let split = |keys: &[&str]| {
        let pairs: Vec<String> =
            keys.iter().zip([ids[1], ids[0]]).map(|(key, id)| format!("{key:?}: {id}")).collect();
        format!("{{{}}}", pairs.join(", "))
    };
    let path = |key: &str| format!("{base}{key}");
    let mut all = files(&[
        ("train.json", &split(&keys[..2])),
        ("val.json", &split(&keys[2..3])),
        ("test.json", &split(&keys[3..])),
    ]);
    all.extend(keys.iter().map(|key| (path(key), testing::PNM.to_vec())));
    let listed = |key: &str, label: u32| -> &'static str { format!("{} {label}", path(key)).leak() };
    Example {
        name,
        form: JSON,
        files: all,
        classes: classes.into(),
        train: vec![listed(keys[0], 1), listed(keys[1], 0)],
        val: Some(vec![listed(keys[2], 1)]),
        test: vec![listed(keys[3], 1)],
    }
}

pub fn examples() -> Vec<Example> {
    let mut cub_splits = splits(
        "cub200",
        "images/",
        ["190.Cardinal/C_1.jpg", "001.Albatross/A_1.jpg", "190.Cardinal/C_2.jpg", "190.Cardinal/C_3.jpg"],
        ["\"001\"", "\"190\""],
        ["001.Albatross", "190.Cardinal"],
    );
    cub_splits.files.extend(files(&[("classes.txt", "1 001.Albatross\n190 190.Cardinal\n")]));
    vec![
        cifar(true),
        cifar(false),
        cifar_100(true),
        cifar_100(false),
        svhn(),
        gtsrb(),
        food(true),
        food(false),
        dtd(),
        flowers(),
        dogs(),
        cars(true),
        cars(false),
        cub(),
        nabirds(),
        cub_splits,
        splits(
            "nabirds",
            "images/",
            ["0533/a.jpg", "0295/b.jpg", "0533/c.JPG", "0533/d.jpg"],
            ["295", "533"],
            ["295", "533"],
        ),
        splits(
            "dogs",
            "Images/",
            [
                "n02112706-Griffon/1.jpg",
                "n02085620-Chihuahua/1.jpg",
                "n02112706-Griffon/2.jpg",
                "n02112706-Griffon/3.jpg",
            ],
            ["1", "20"],
            ["n02085620-Chihuahua", "n02112706-Griffon"],
        ),
        splits(
            "flowers102",
            "",
            ["jpg/image_1.jpg", "jpg/image_2.jpg", "jpg/image_3.jpg", "jpg/image_4.jpg"],
            ["1", "2"],
            ["1", "2"],
        ),
        splits(
            "cars",
            "",
            ["car_ims/1.jpg", "car_ims/2.jpg", "car_ims/3.jpg", "car_ims/4.jpg"],
            ["1", "2"],
            ["1", "2"],
        ),
    ]
}
