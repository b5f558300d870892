//! Starts the programs as a user does, and makes folders, images and a small backbone for them.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::{env, fs};

use crate::root::{profile, tmp};

/// A fresh folder for one test, below cargo's folder for what tests write.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes the folder `name` and removes what an earlier run of the test left in it.
    pub fn new(name: &str) -> Self {
        let path = tmp().join(name);
        if path.exists() {
            fs::remove_dir_all(&path).unwrap();
        }
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    /// A path in the folder, as an argument.
    pub fn at(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("UTF-8").to_string()
    }

    /// Writes a file and the folders it lies in, and returns its path.
    pub fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().expect("in the folder")).unwrap();
        fs::write(&path, bytes).unwrap();
        self.at(name)
    }

    /// Makes a folder of 32x32 pictures striped by class: for each class 20 to train and 6 to test.
    pub fn data(&self, name: &str, classes: usize) -> String {
        let mut noise = 1u32;
        for (split, count) in [("train", 20), ("test", 6)] {
            for (class, i) in (0..classes).flat_map(|class| (0..count).map(move |i| (class, i))) {
                let mut image = b"P6 32 32 255\n".to_vec();
                image.extend((0..32 * 32 * 3).map(|at| {
                    noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let stripe = if at / 3 % (class + 2) == 0 { 120 } else { 0 };
                    (noise >> 25) as u8 + stripe
                }));
                self.write(&format!("{name}/{split}/class {class}/{i}.ppm"), &image);
            }
        }
        self.at(name)
    }

    /// Makes a run that trains a small Vim for one epoch on `data`; its `best.safetensors` serves as a backbone.
    pub fn small_vim(&self, name: &str, data: &str) -> String {
        self.small(name, data, "--model vim_nano --embed-dim 16 --depth 2")
    }

    /// The same of a ViT.
    pub fn small_vit(&self, name: &str, data: &str) -> String {
        let size = "--model vit_tiny --embed-dim 16 --depth 3 --heads 2 --img-size 32 --patch-size 8";
        self.small(name, data, size)
    }

    fn small(&self, name: &str, data: &str, size: &str) -> String {
        let out = self.at(name);
        succeeds(&train(&[&["--data", data, "--out", &out], &words(FULL)[..], &words(size)].concat()));
        out
    }
}

const FULL: &str = "--method full --epochs 1 --batch-size 8";

/// Splits arguments that are written as one line.
pub fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// A program of the root package, which cargo builds before that package's tests.
///
/// Newer versions of cargo pass its path to the tests that they run. `env!` would too, but only in the root package.
pub fn program(name: &str) -> Command {
    let named = env::var_os(format!("CARGO_BIN_EXE_{name}")).map(PathBuf::from);
    let file = named.unwrap_or_else(|| profile().join(name));
    assert!(file.is_file(), "{} was not built", file.display());
    Command::new(file)
}

/// Runs `svp-train` to its end.
pub fn train(args: &[&str]) -> Output {
    program("svp-train").args(args).output().unwrap()
}

/// What a program printed.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Checks that the command succeeded, and returns its standard output.
#[track_caller]
pub fn succeeds(output: &Output) -> String {
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Checks that the command failed with one line of error that has all `parts`.
#[track_caller]
pub fn fails(output: &Output, parts: &[&str]) {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.starts_with("error:") && stderr.trim_end().lines().count() == 1, "{stderr}");
    for part in parts {
        assert!(stderr.contains(part), "`{part}` is not in: {stderr}");
    }
}
