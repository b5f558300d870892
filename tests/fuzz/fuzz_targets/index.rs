#![no_main]

use std::sync::LazyLock;

use engine::{Device, Tensor};
use libfuzzer_sys::fuzz_target;
use svp::checkpoint::{Checkpoint, save_safetensors};
use svp_fuzz::{Folder, checked, one_line, start};

/// A folder with two parts of a checkpoint.
static FOLDER: LazyLock<Folder> = LazyLock::new(|| {
    let folder = Folder::with([("inside/notes.txt", &b"no part"[..])]);
    let tensor = Tensor::zeros(&Device::cpu(), &[2]);
    for (part, names) in [("a.safetensors", ["x", "y"]), ("b.safetensors", ["z", "w"])] {
        let tensors = names.map(|name| (name.to_string(), &tensor));
        save_safetensors(&folder.path().join(part), &tensors, &Default::default()).expect("room in memory");
    }
    folder
});

fuzz_target!(init: start(), |input: &[u8]| {
    FOLDER.put("model.safetensors.index.json", input);
    let Some(file) = checked(Checkpoint::open(FOLDER.path())) else { return };
    file.notes().iter().for_each(one_line);
    for name in file.entries().keys() {
        checked(file.tensor(name));
    }
});
