//! Folders, images, a small backbone and the programs themselves, for the tests of the commands.

// Not every test uses all of it.
#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A fresh folder for one test.
pub struct Place(PathBuf);

impl Place {
    pub fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        if path.exists() {
            fs::remove_dir_all(&path).unwrap();
        }
        fs::create_dir_all(&path).unwrap();
        Place(path)
    }

    /// A path in the folder, as an argument.
    pub fn at(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("UTF-8").to_string()
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().expect("in the folder")).unwrap();
        fs::write(&path, bytes).unwrap();
        self.at(name)
    }

    /// A folder of 32x32 pictures, striped by class: 20 a class to train, 6 to test.
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

    /// A run that trained a small Vim for one epoch on `data`; its `best.safetensors` serves as a backbone.
    pub fn small_vim(&self, name: &str, data: &str) -> String {
        let out = self.at(name);
        let size = "--model vim_nano --embed-dim 16 --depth 2";
        let made = train(&[&["--data", data, "--out", &out], &words(FULL)[..], &words(size)].concat());
        assert!(made.status.success(), "{}", text(&made.stderr));
        out
    }
}

const FULL: &str = "--method full --epochs 1 --batch-size 8";

/// Arguments written as one line.
pub fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

pub fn train(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_svp-train")).args(args).output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The command failed in one line of error that has all `parts`.
#[track_caller]
pub fn fails(output: &Output, parts: &[&str]) {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.starts_with("error:") && stderr.trim_end().lines().count() == 1, "{stderr}");
    for part in parts {
        assert!(stderr.contains(part), "`{part}` is not in: {stderr}");
    }
}
