#![no_main]

use std::sync::LazyLock;

use engine::{Device, Tensor};
use libfuzzer_sys::fuzz_target;
use svp::backbones::pos_embed::ClassRow;
use svp::backbones::{LoadOptions, Sizes, from_scratch, load};
use svp::checkpoint::{Checkpoint, save_safetensors};
use svp::train::{TrainedFile, load_trained};
use svp_fuzz::{Folder, Unnamed, checked, form, start};

static FILE: LazyLock<Unnamed> = LazyLock::new(Unnamed::new);
/// The smallest backbone, and its hash.
static BACKBONE: LazyLock<(Folder, String)> = LazyLock::new(|| {
    let folder = Folder::with([]);
    let sizes = Sizes {
        img_size: Some(4),
        patch_size: Some(2),
        embed_dim: Some(8),
        depth: Some(1),
        ..Sizes::default()
    };
    let made = from_scratch("vim_nano", &sizes, 0).expect("a small backbone");
    let tensors: Vec<(String, &Tensor)> = made.params.iter().map(|p| (p.name.clone(), &p.value)).collect();
    let path = folder.path().join("backbone.safetensors");
    save_safetensors(&path, &tensors, &Default::default()).expect("room in memory");
    let file = Checkpoint::open(&path).expect("it was written");
    let class_row = ClassRow::Middle;
    let options = LoadOptions { class_row, ..LoadOptions::default() };
    let hash = load(&file, options).expect("a backbone").hash;
    (folder, hash)
});

// The input is what a trained file says about itself: the model, and perhaps how far the run had come. `HASH` stands for
// that of the backbone.
fuzz_target!(init: start(), |input: &[u8]| {
    let Ok(input) = std::str::from_utf8(input) else { return };
    let (model, position) = input.split_once('\n').unwrap_or((
        input,
        r#"{"step":1,"epoch":1,"batch":0,"loss_sum_bits":0,"best":null}"#,
    ));
    let (folder, hash) = &*BACKBONE;
    let model = model.replace("HASH", hash);
    let header = serde_json::json!({"__metadata__": {"svp.model": model, "svp.position": position}});
    let path = FILE.holding(&form::safetensors(header.to_string().as_bytes()));
    if checked(TrainedFile::open(path)).is_some() {
        checked(load_trained(path, Some(&folder.path().join("backbone.safetensors")), &Device::cpu()));
    }
});
