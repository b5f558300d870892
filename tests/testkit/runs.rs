//! Makes whole runs of training: a small task for them, and readers for what they wrote.

use std::fs;
use std::path::Path;

use svp::methods::Chosen;

use crate::programs::Scratch;

/// Data, and a backbone trained on it by the CPU.
pub struct Task {
    /// The folder of the test, with data and backbone in it.
    pub place: Scratch,
    /// The folder of images, as [`Scratch::data`] makes it.
    pub data: String,
    /// The backbone's file, as [`Scratch::small_vim`] makes it.
    pub backbone: String,
}

impl Task {
    /// A task in a fresh folder `name`.
    pub fn new(name: &str, classes: usize) -> Self {
        let place = Scratch::new(name);
        let data = place.data("data", classes);
        let backbone = place.small_vim("backbone", &data) + "/best.safetensors";
        Task { place, data, backbone }
    }

    /// The same with a ViT, as [`Scratch::small_vit`] makes it.
    pub fn of_vit(name: &str, classes: usize) -> Self {
        let place = Scratch::new(name);
        let data = place.data("data", classes);
        let backbone = place.small_vit("backbone", &data) + "/best.safetensors";
        Task { place, data, backbone }
    }
}

/// Number of lines that a run has written to its metrics.
pub fn records(run: &str) -> usize {
    fs::read(Path::new(run).join("metrics.jsonl")).map_or(0, |b| b.iter().filter(|&&b| b == b'\n').count())
}

/// Checks that two runs have the same trained files.
#[track_caller]
pub fn same(a: &str, b: &str) {
    for name in ["best.safetensors", "last.safetensors"] {
        let bytes = |run: &str| fs::read(Path::new(run).join(name)).unwrap();
        assert!(bytes(a) == bytes(b), "{name} of {a} and {b} differ");
    }
}

/// `--method METHOD` and the flags that make it small: those of them that its entry in the registry declares.
pub fn small(method: &str) -> Vec<&str> {
    let chosen = Chosen::named(method).unwrap_or_else(|e| panic!("{e}"));
    let flags = [["--hidden", "8"], ["--group-size", "1"], ["--tokens", "3"], ["--frames", "3"]];
    let declared = flags.into_iter().filter(|[flag, _]| chosen.setting(&flag[2..]).is_some());
    [["--method", method]].into_iter().chain(declared).flatten().collect()
}
