//! The published data sets of the paper: where they lie and how many images they have (`docs/data.md`).

use std::fmt;

use super::layout::Layout;
use super::splits::{BINARY, JSON, LISTS, MAT, PICKLES, PPM, Splits, TABLES, VTAB_JOINT, VTAB_PAIR};
use super::{birds, cars, cifar, dogs, dtd, flowers, food, gtsrb, json, svhn, vtab};
use crate::error::Result;
use crate::files::Files;

/// A published data set.
pub struct Known {
    /// The name by which `--dataset` knows it.
    pub name: &'static str,
    /// The name by which `--data-set` of the published program knows it.
    pub flag: &'static str,
    /// The name for people.
    pub title: &'static str,
    /// The number of its classes.
    pub classes: usize,
    /// The numbers of images of its splits, for each form in which it comes.
    pub counts: &'static [Counts],
    /// The sub-folders of a data folder in which it usually lies. Those of VTAB-1k tasks follow from their names.
    folders: &'static [&'static str],
    reader: Reader,
}

/// The published numbers of images in the splits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// The form of the data set.
    pub form: &'static str,
    /// Images in train.
    pub train: usize,
    /// Images in val, where there is one.
    pub val: Option<usize>,
    /// Images in test.
    pub test: usize,
    /// Images of every class in train, val and test, where all classes have the same number.
    pub per_class: [Option<usize>; 3],
}

/// Whether the files of a data set lie in a folder.
type Fits = fn(&Files) -> Result<bool>;
/// Reads the splits in a folder; the number is the seed.
type Open = fn(&Files, u64) -> Result<Splits>;
/// Names the classes of VPT-style splits, which call them by number.
type Names = fn(&Files, &Splits) -> Result<Vec<String>>;

/// How a data set is read.
enum Reader {
    /// By a reader of its own. The text says by which files it is told.
    Own(Fits, Open, &'static str),
    /// By the reader of VPT-style splits where there are any, or else by one of its own. The text is the file by which
    /// the latter is told; the last function names the classes of VPT-style splits.
    Splits(Fits, Open, &'static str, Names),
    /// By the reader of VPT-style splits where there are any, or else by that of tables. The function tells its tables
    /// from others.
    Tables(Fits),
    /// By the reader of VTAB-1k lists.
    Vtab,
}

impl Known {
    /// The data set with this name, with or without `hta/` or `fgvc/` in front of it. The published program's name counts
    /// too.
    pub fn named(name: &str) -> Option<&'static Known> {
        let plain =
            ["hta/", "fgvc/"].iter().find_map(|benchmark| name.strip_prefix(benchmark)).unwrap_or(name);
        KNOWN.iter().find(|known| known.name == plain || known.flag.eq_ignore_ascii_case(plain))
    }

    /// The name of the folder of a VTAB-1k task.
    fn task(&self) -> Option<&'static str> {
        self.name.strip_prefix("vtab/")
    }

    /// Whether its files lie in a folder. If it was asked for by name, it need not be told from others of its layout.
    pub(super) fn fits(&self, files: &Files, by_name: bool) -> Result<bool> {
        match self.reader {
            Reader::Own(fits, ..) => fits(files),
            Reader::Splits(..) | Reader::Tables(_) if json::fits(files) => {
                Ok(by_name || json::example(files).and_then(|key| published(&key)) == Some(self.name))
            }
            Reader::Splits(fits, ..) => fits(files),
            // Asked for by name, other tables are refused with what differs.
            Reader::Tables(fits) => {
                if by_name {
                    Ok(birds::fits(files))
                } else {
                    fits(files)
                }
            }
            Reader::Vtab if !vtab::fits(files) => Ok(false),
            Reader::Vtab => {
                let folder = files.name().to_ascii_lowercase().replace("clever_", "clevr_");
                let other = || KNOWN.iter().filter_map(Known::task).any(|task| task == folder);
                Ok(self.task() == Some(&folder) || by_name && !other())
            }
        }
    }

    /// Reads its splits. `seed` decides those training sets that the published program draws.
    pub(super) fn open(&'static self, files: &Files, seed: u64) -> Result<Splits> {
        match self.reader {
            Reader::Own(_, open, _) => open(files, seed),
            Reader::Splits(_, _, _, names) if json::fits(files) => named_splits(files, names),
            Reader::Tables(_) if json::fits(files) => named_splits(files, birds::names),
            Reader::Splits(_, open, ..) => open(files, seed),
            Reader::Tables(_) => birds::open_published(files, self.name),
            Reader::Vtab => vtab::open(files, Some(self.classes as u32)),
        }
    }

    /// The layout that reads a set of this form which is like this one and is not.
    pub(super) fn of_its_own(&self, form: &str) -> Option<Layout> {
        match self.reader {
            Reader::Splits(..) | Reader::Tables(_) if form == JSON => Some(Layout::Json),
            Reader::Tables(_) => Some(Layout::Tables),
            Reader::Own(..) if self.name == "food101" => Some(Layout::Lists),
            _ => None,
        }
    }

    /// The first of its usual folders that has it.
    pub(super) fn locate(&self, files: &Files) -> Result<Option<Files>> {
        for folder in self.usual_folders() {
            if let Some(files) = files.at(&folder)?
                && self.fits(&files, true)?
            {
                return Ok(Some(files));
            }
        }
        Ok(None)
    }

    /// The sub-folders of a data folder in which it may lie.
    pub(super) fn usual_folders(&self) -> Vec<String> {
        match self.task() {
            Some(task) => {
                let spellings = [task.to_string(), task.replace("clevr_", "clever_")];
                let spellings = &spellings[..if task.starts_with("clevr_") { 2 } else { 1 }];
                let parents = ["", "vtab-1k/", "VTAB/vtab-1k/"];
                parents
                    .iter()
                    .flat_map(|parent| spellings.iter().map(move |s| format!("{parent}{s}")))
                    .collect()
            }
            None => self.folders.iter().map(|folder| folder.to_string()).collect(),
        }
    }

    /// The files and folders by which it was looked for, for an error.
    pub(super) fn marks(&self) -> String {
        let folders = self.usual_folders().join(", ");
        match self.reader {
            Reader::Own(_, _, marks) => format!("{marks} there and in {folders}"),
            Reader::Tables(_) => format!(
                "train.json or train_test_split.txt with images.txt and image_class_labels.txt, there and in {folders}"
            ),
            Reader::Splits(_, _, own, _) => format!("train.json or {own} there and in {folders}"),
            Reader::Vtab => format!("train800.txt and train800val200.txt there and in {folders}"),
        }
    }
}

/// VPT-style splits, with names for their classes.
fn named_splits(files: &Files, names: Names) -> Result<Splits> {
    let mut splits = json::open(files)?;
    splits.classes = names(files, &splits)?;
    Ok(splits)
}

/// The name of the published data set whose paths look like this one, in VPT-style splits and in tables.
pub(super) fn published(key: &str) -> Option<&'static str> {
    let digits =
        |text: &str, n: usize| text.len() >= n && text.bytes().take(n).all(|byte| byte.is_ascii_digit());
    let after = |n: usize| key.as_bytes().get(n).copied();
    match key {
        _ if key.starts_with("jpg/image_") => Some("flowers102"),
        _ if key.starts_with("car_ims/") => Some("cars"),
        _ if key.starts_with('n') && digits(&key[1..], 8) && after(9) == Some(b'-') => Some("dogs"),
        _ if digits(key, 3) && after(3) == Some(b'.') => Some("cub200"),
        _ if digits(key, 4) && after(4) == Some(b'/') => Some("nabirds"),
        _ => None,
    }
}

impl PartialEq for Known {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Known {}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Published numbers of images.
const fn counts(form: &'static str, train: usize, val: Option<usize>, test: usize) -> Counts {
    Counts { form, train, val, test, per_class: [None; 3] }
}

/// Published numbers of images of a data set whose classes all have the same.
const fn even(form: &'static str, classes: usize, per_class: [Option<usize>; 3]) -> Counts {
    let [Some(train), val, Some(test)] = per_class else { panic!("train and test have images") };
    let val = match val {
        Some(val) => Some(val * classes),
        None => None,
    };
    Counts { form, train: train * classes, val, test: test * classes, per_class }
}

/// A VTAB-1k task, which has 1,000 images to train on.
macro_rules! task {
    ($name:literal, $flag:literal, $title:literal, $classes:literal, $test:literal) => {
        Known {
            name: $name,
            flag: $flag,
            title: $title,
            classes: $classes,
            counts: &[counts(VTAB_PAIR, 800, Some(200), $test), counts(VTAB_JOINT, 1000, None, $test)],
            folders: &[],
            reader: Reader::Vtab,
        }
    };
}

/// The ten data sets of the paper's first table, Stanford Cars, and the tasks of VTAB-1k.
pub static KNOWN: [Known; 30] = [
    Known {
        name: "cifar100",
        flag: "CIFAR",
        title: "CIFAR-100",
        classes: 100,
        counts: &[
            even(PICKLES, 100, [Some(500), None, Some(100)]),
            even(BINARY, 100, [Some(500), None, Some(100)]),
        ],
        folders: &["cifar-100-python", "cifar-100-binary"],
        reader: Reader::Own(
            cifar::fits_100,
            |files, _| cifar::open_100(files),
            "train with meta, or train.bin,",
        ),
    },
    Known {
        name: "cifar10",
        flag: "CIFAR10",
        title: "CIFAR-10",
        classes: 10,
        counts: &[
            even(PICKLES, 10, [Some(5000), None, Some(1000)]),
            even(BINARY, 10, [Some(5000), None, Some(1000)]),
        ],
        folders: &["cifar-10-batches-py", "cifar-10-batches-bin"],
        reader: Reader::Own(
            cifar::fits_10,
            |files, _| cifar::open_10(files),
            "data_batch_1 or data_batch_1.bin",
        ),
    },
    Known {
        name: "dtd",
        flag: "DTD",
        title: "DTD",
        classes: 47,
        counts: &[even(LISTS, 47, [Some(40), Some(40), Some(40)])],
        folders: &["dtd/dtd", "dtd"],
        reader: Reader::Own(dtd::fits, |files, _| dtd::open(files), "labels/train1.txt"),
    },
    Known {
        name: "cub200",
        flag: "CUB200",
        title: "CUB-200-2011",
        classes: 200,
        counts: &[counts(JSON, 5393, Some(600), 5794), counts(TABLES, 5994, None, 5794)],
        folders: &["FGVC/CUB_200_2011", "CUB_200_2011"],
        reader: Reader::Tables(birds::fits_cub),
    },
    Known {
        name: "nabirds",
        flag: "NABIRDS",
        title: "NABirds",
        classes: 555,
        counts: &[counts(JSON, 21536, Some(2393), 24633), counts(TABLES, 23929, None, 24633)],
        folders: &["FGVC/nabirds", "nabirds"],
        reader: Reader::Tables(birds::fits_nabirds),
    },
    Known {
        name: "dogs",
        flag: "DOGS",
        title: "Stanford Dogs",
        classes: 120,
        counts: &[counts(JSON, 10800, Some(1200), 8580), counts(MAT, 12000, None, 8580)],
        folders: &["FGVC/stanford-dogs", "stanford-dogs"],
        reader: Reader::Splits(dogs::fits, |files, _| dogs::open(files), "train_list.mat", dogs::names),
    },
    Known {
        name: "gtsrb",
        flag: "GTSRB",
        title: "GTSRB",
        classes: 43,
        counts: &[counts(PPM, 21312, Some(5328), 12630)],
        folders: &["gtsrb"],
        reader: Reader::Own(
            gtsrb::fits,
            gtsrb::open,
            "Training/00000 with Final_Test, GT-final_test.csv, GT-00000.csv or all 43 classes",
        ),
    },
    Known {
        name: "flowers102",
        flag: "FLOWERS",
        title: "Oxford Flowers-102",
        classes: 102,
        counts: &[counts(JSON, 1020, Some(1020), 6149), counts(MAT, 1020, Some(1020), 6149)],
        folders: &["FGVC/OxfordFlower", "OxfordFlower", "flowers-102"],
        reader: Reader::Splits(
            flowers::fits,
            |files, _| flowers::open(files),
            "setid.mat",
            |_, splits| Ok(splits.classes.clone()),
        ),
    },
    Known {
        name: "svhn",
        flag: "SVHN",
        title: "SVHN",
        classes: 10,
        counts: &[counts(MAT, 58605, Some(14652), 26032)],
        folders: &["svhn"],
        reader: Reader::Own(svhn::fits, |files, _| svhn::open(files), "train_32x32.mat"),
    },
    Known {
        name: "food101",
        flag: "FOOD",
        title: "Food-101",
        classes: 101,
        counts: &[Counts { per_class: [None, None, Some(250)], ..counts(LISTS, 60600, Some(15150), 25250) }],
        folders: &["food-101"],
        reader: Reader::Own(food::fits, food::open, "meta/train.json or meta/train.txt"),
    },
    Known {
        name: "cars",
        flag: "CARS",
        title: "Stanford Cars",
        classes: 196,
        // The published training list contains the 815 validation images, which are not trained on here.
        counts: &[counts(JSON, 7329, Some(815), 8041), counts(MAT, 8144, None, 8041)],
        folders: &["FGVC/stanford-cars", "stanford-cars", "stanford_cars"],
        reader: Reader::Splits(cars::fits, |files, _| cars::open(files), "cars_annos.mat", cars::names),
    },
    task!("vtab/cifar", "VTAB_CIFAR100", "VTAB-1k CIFAR-100", 100, 10000),
    task!("vtab/caltech101", "VTAB_Caltech101", "VTAB-1k Caltech101", 102, 6084),
    task!("vtab/dtd", "VTAB_DTD", "VTAB-1k DTD", 47, 1880),
    task!("vtab/oxford_flowers102", "VTAB_Flowers102", "VTAB-1k Flowers-102", 102, 6149),
    task!("vtab/oxford_iiit_pet", "VTAB_Pets", "VTAB-1k Pets", 37, 3669),
    task!("vtab/svhn", "VTAB_SVNH", "VTAB-1k SVHN", 10, 26032),
    task!("vtab/sun397", "VTAB_Sun397", "VTAB-1k Sun397", 397, 21750),
    task!("vtab/patch_camelyon", "VTAB_Camelyon", "VTAB-1k Patch Camelyon", 2, 32768),
    task!("vtab/eurosat", "VTAB_EuroSAT", "VTAB-1k EuroSAT", 10, 5400),
    task!("vtab/resisc45", "VTAB_Resisc45", "VTAB-1k Resisc45", 45, 6300),
    task!("vtab/diabetic_retinopathy", "VTAB_Retinopathy", "VTAB-1k Retinopathy", 5, 42670),
    task!("vtab/clevr_count", "VTAB_Clevr_Count", "VTAB-1k Clevr-Count", 8, 15000),
    task!("vtab/clevr_dist", "VTAB_Clevr_Dist", "VTAB-1k Clevr-Distance", 6, 15000),
    task!("vtab/dmlab", "VTAB_DMLab", "VTAB-1k DMLab", 6, 22735),
    task!("vtab/kitti", "VTAB_KITTI_Dist", "VTAB-1k KITTI-Distance", 4, 711),
    task!("vtab/dsprites_loc", "VTAB_dSpr_Loc", "VTAB-1k dSprites-Location", 16, 73728),
    task!("vtab/dsprites_ori", "VTAB_dSpr_Ori", "VTAB-1k dSprites-Orientation", 16, 73728),
    task!("vtab/smallnorb_azi", "VTAB_sNORB_Azim", "VTAB-1k SmallNORB-Azimuth", 18, 12150),
    task!("vtab/smallnorb_ele", "VTAB_sNORB_Ele", "VTAB-1k SmallNORB-Elevation", 9, 12150),
];
