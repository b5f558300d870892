use std::fs;
use std::path::{Path, PathBuf};

use engine::Tensor;

use super::config::VitConfig;
use super::{Vit, weights};
use crate::Result;
use crate::backbones::family::{LoadOptions, Loaded, Normalise, Pool, Reading};
use crate::backbones::{Sizes, from_scratch, load, named, spec};
use crate::checkpoint::{Checkpoint, Metadata, save_safetensors, save_torch};
use crate::data::Normalisation;
use crate::params::Params;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/vit").join(name)
}

const HEADS: Reading = Reading { heads: Some(2), normalise: None, pool: None };

fn load_with(file: &Path, options: LoadOptions) -> Result<Loaded> {
    load(&Checkpoint::open(file)?, options)
}

fn refusal(file: &Path, options: LoadOptions) -> String {
    let told = load_with(file, options).err().expect("it is refused").to_string();
    assert!(!told.contains('\n'), "{told}");
    told
}

/// The tensors of a ViT of these sizes, and a head of 3 classes.
fn tensors(config: VitConfig) -> Vec<(String, Tensor)> {
    let mut params = Params::default();
    Vit::init(config, &mut params, 5).unwrap();
    let own = params.iter().map(|param| (param.name.clone(), param.value.clone()));
    let d = config.embed_dim;
    let head = [("head.weight", vec![3, d]), ("head.bias", vec![3])];
    own.chain(
        head.map(|(name, shape)| {
            (name.to_string(), Tensor::from_vec(vec![0.5; shape.iter().product()], &shape))
        }),
    )
    .collect()
}

fn borrowed(tensors: &[(String, Tensor)]) -> Vec<(String, &Tensor)> {
    tensors.iter().map(|(name, tensor)| (name.clone(), tensor)).collect()
}

/// Writes the tensors as a flat state dict, and loads it.
fn flat(file: &Path, tensors: &[(String, Tensor)], reading: Reading) -> Loaded {
    save_safetensors(file, &borrowed(tensors), &Metadata::new()).unwrap();
    load_with(file, LoadOptions { reading, ..LoadOptions::default() }).unwrap()
}

const SMALL: usize = 64;

#[test]
fn normalisation_comes_with_the_weights_and_is_told() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("a.safetensors");
    let all = tensors(VitConfig::sized(8, 4, SMALL, 1));
    let check = |loaded: &Loaded, normalisation, part: &str| {
        assert_eq!(loaded.backbone.spec().normalisation, normalisation, "{part}");
        assert!(loaded.notes.iter().any(|note| note.contains(part)), "{part}: {:?}", loaded.notes);
    };
    check(&flat(&file, &all, Reading::default()), Normalisation::HALF, "timm's own weights (--normalise");
    let given = Reading { normalise: Some(Normalise::Imagenet), ..Reading::default() };
    check(&flat(&file, &all, given), Normalisation::IMAGENET, "mean 0.485/0.456/0.406 and deviation");
    let headless: Vec<_> = all.iter().filter(|(name, _)| !name.starts_with("head.")).cloned().collect();
    check(&flat(&file, &headless, Reading::default()), Normalisation::IMAGENET, "DINO's weights");
    let scaled = VitConfig { layer_scale: true, ..VitConfig::sized(8, 4, SMALL, 1) };
    check(&flat(&file, &tensors(scaled), Reading::default()), Normalisation::IMAGENET, "DINOv2's");

    // `save_torch` writes the state dict under `model`.
    let pth = place.path().join("a.pth");
    let under_model = |tensors: &[(String, Tensor)]| {
        save_torch(&pth, &borrowed(tensors), &Metadata::new(), crate::checkpoint::Precision::F32).unwrap();
        load_with(&pth, LoadOptions::default()).unwrap()
    };
    check(&under_model(&all), Normalisation::IMAGENET, "DeiT's weights");
    let encoder = under_model(&headless);
    check(&encoder, Normalisation::IMAGENET, "MAE's weights");
    check(&encoder, Normalisation::IMAGENET, "a new norm of the mean of all rows");
    let norm = encoder.params.get(encoder.params.id("fc_norm.weight").unwrap());
    assert!(norm.as_slice().iter().all(|&scale| scale == 1.0) && encoder.params.id("norm.weight").is_none());

    for (name, part) in [("ckpt_moco_pretrain.pth.tar", "MoCo-v3's"), ("ckpt_dino_full.pth", "DINO's")] {
        let loaded =
            load_with(&golden(name), LoadOptions { reading: HEADS, ..LoadOptions::default() }).unwrap();
        check(&loaded, Normalisation::IMAGENET, part);
    }
}

#[test]
fn what_stands_beside_a_file_is_read() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("model.safetensors");
    let all = tensors(VitConfig::sized(8, 4, SMALL, 1));
    let beside = |name: &str, text: &str| fs::write(place.path().join(name), text).unwrap();
    beside("config.json", r#"{"num_attention_heads": 4, "layer_norm_eps": 1e-5, "hidden_act": "gelu"}"#);
    beside("preprocessor_config.json", r#"{"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 0.5, 0.25]}"#);
    let facts = flat(&file, &all, Reading::default()).backbone.facts();
    let fact = |name: &str| facts[&format!("vit.{name}")].as_str();
    assert_eq!([fact("heads"), fact("eps"), fact("pool")], ["4", "0.00001", "class"]);
    assert_eq!(fact("normalisation"), "0.1 0.2 0.3 1 0.5 0.25");
    let given = Reading { heads: Some(8), ..Reading::default() };
    assert_eq!(flat(&file, &all, given).backbone.facts()["vit.heads"], "8", "a flag wins");

    fs::remove_file(place.path().join("preprocessor_config.json")).unwrap();
    beside(
        "config.json",
        r#"{"architecture": "vit", "pretrained_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}}"#,
    );
    assert_eq!(flat(&file, &all, Reading::default()).backbone.spec().normalisation, Normalisation::HALF);
    beside("config.json", r#"{"hidden_act": "quick_gelu"}"#);
    assert!(refusal(&file, LoadOptions::default()).contains("config.json: says the activation quick_gelu"));
    beside("config.json", "{");
    assert!(refusal(&file, LoadOptions::default()).contains("config.json: is no JSON"));
}

#[test]
fn metadata_wins_over_what_stands_beside_and_is_checked() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("a.safetensors");
    let all = tensors(VitConfig::sized(8, 4, SMALL, 1));
    fs::write(place.path().join("config.json"), r#"{"num_attention_heads": 4}"#).unwrap();
    let config = VitConfig { heads: 2, eps: 1e-12, pool: Pool::Mean, ..VitConfig::sized(8, 4, SMALL, 1) };
    let facts = super::facts::written(&config);
    save_safetensors(&file, &borrowed(&all), &facts).unwrap();
    assert_eq!(load_with(&file, LoadOptions::default()).unwrap().backbone.facts(), facts);
    for (key, text) in [("heads", "two"), ("eps", ""), ("pool", "all"), ("normalisation", "1 2 3 4 5")] {
        let mut wrong = facts.clone();
        wrong.insert(format!("vit.{key}"), text.into());
        save_safetensors(&file, &borrowed(&all), &wrong).unwrap();
        let told = refusal(&file, LoadOptions::default());
        assert!(told.contains(&format!("says {text:?} for vit.{key}")), "{told}");
    }
    for (key, text, part) in
        [("heads", "3", "64 channels are no multiple of 3 heads"), ("eps", "NaN", "an eps of NaN")]
    {
        let mut wrong = facts.clone();
        wrong.insert(format!("vit.{key}"), text.into());
        save_safetensors(&file, &borrowed(&all), &wrong).unwrap();
        let told = refusal(&file, LoadOptions::default());
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn what_a_vit_here_has_not_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("a.safetensors");
    let mut all = tensors(VitConfig::sized(8, 4, SMALL, 1));
    let none = LoadOptions::default();
    all.push(("register_tokens".into(), Tensor::from_vec(vec![0.0; 2 * SMALL], &[1, 2, SMALL])));
    save_safetensors(&file, &borrowed(&all), &Metadata::new()).unwrap();
    assert!(refusal(&file, none).contains("1 unexpected (register_tokens)"), "{}", refusal(&file, none));
    all.pop();
    all.retain(|(name, _)| name != "blocks.0.attn.proj.bias");
    save_safetensors(&file, &borrowed(&all), &Metadata::new()).unwrap();
    assert!(refusal(&file, none).contains("1 missing (blocks.0.attn.proj.bias)"));
    let loaded = load_with(&file, LoadOptions { allow_mismatch: true, ..none }).unwrap();
    assert!(
        loaded.notes.iter().any(|note| note.starts_with("loaded although 1 missing")),
        "{:?}",
        loaded.notes
    );

    let heads = LoadOptions { reading: HEADS, ..none };
    let vim = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/vim_nano_release.safetensors");
    assert!(refusal(&vim, heads).starts_with("--heads: a Vim leaves nothing of that open"));
    let sizes = Sizes { reading: HEADS, ..Sizes::default() };
    assert!(named("vim_nano", &sizes).unwrap_err().to_string().starts_with("--heads: "));
    let narrow = Sizes { embed_dim: Some(24), ..Sizes::default() };
    assert!(named("vit_tiny", &narrow).unwrap_err().to_string().contains("give --heads"));
    assert_eq!(named("vit_tiny", &Sizes { reading: HEADS, ..narrow }).unwrap().width, 24);
}

#[test]
fn another_image_size_resizes_the_position_embedding() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("a.safetensors");
    let all = tensors(VitConfig::sized(8, 4, SMALL, 1));
    let plain = flat(&file, &all, Reading::default());
    let larger = load_with(&file, LoadOptions { img_size: Some(16), ..LoadOptions::default() }).unwrap();
    assert_eq!(larger.hash, plain.hash, "the weights of the file");
    assert_eq!(larger.backbone.spec().tokens(), 17);
    assert!(larger.notes.iter().any(|note| note.contains("from 2x2 to 4x4 patches")), "{:?}", larger.notes);
    let row = |of: &Loaded| of.params.get(of.params.id("pos_embed").unwrap()).as_slice()[..SMALL].to_vec();
    assert_eq!(row(&larger), row(&plain), "the class token's row");
    let checkpoint = Checkpoint::open(&file).unwrap();
    assert_eq!(spec(&checkpoint, &Sizes::default()).unwrap(), *plain.backbone.spec());
    // Overlapping patches: the same grid in a smaller image.
    let overlapping = load_with(&file, LoadOptions { stride: Some(2), ..LoadOptions::default() }).unwrap();
    assert_eq!((overlapping.backbone.spec().img_size, overlapping.backbone.spec().grid), (6, 2));
}

#[test]
fn a_vit_from_scratch_has_the_parameters_of_its_size() {
    let sizes = Sizes {
        img_size: Some(8),
        patch_size: Some(4),
        embed_dim: Some(SMALL),
        depth: Some(2),
        ..Sizes::default()
    };
    let made = from_scratch("vit_tiny", &sizes, 3).unwrap();
    let config = VitConfig::sized(8, 4, SMALL, 2);
    let shapes = made.params.iter().map(|param| (param.name.clone(), param.value.shape().to_vec()));
    assert!(shapes.eq(weights::shapes(&config)));
    assert_eq!(made.backbone.spec(), &config.spec());
    assert_ne!(from_scratch("vit_tiny", &sizes, 4).unwrap().hash, made.hash);
}

#[test]
fn hugging_faces_layout_is_read_in_parts() {
    let place = tempfile::tempdir().unwrap();
    let whole = Checkpoint::open(&golden("ckpt_hf")).unwrap();
    let mut map = serde_json::Map::new();
    for part in 0..2 {
        let name = format!("model-{part}.safetensors");
        let names = whole.entries().keys().enumerate().filter(|(i, _)| i % 2 == part).map(|(_, name)| name);
        let tensors: Vec<_> = names.map(|name| (name.clone(), whole.tensor(name).unwrap())).collect();
        map.extend(tensors.iter().map(|(tensor, _)| (tensor.clone(), name.clone().into())));
        save_safetensors(&place.path().join(&name), &borrowed(&tensors), &Metadata::new()).unwrap();
    }
    let index = serde_json::json!({ "weight_map": map }).to_string();
    fs::write(place.path().join("model.safetensors.index.json"), index).unwrap();
    fs::copy(golden("ckpt_hf/config.json"), place.path().join("config.json")).unwrap();
    let [parts, whole] = [place.path().to_path_buf(), golden("ckpt_hf")]
        .map(|folder| load_with(&folder, LoadOptions::default()).unwrap());
    assert_eq!((parts.hash, parts.backbone.facts()), (whole.hash, whole.backbone.facts()));
    assert_eq!(whole.backbone.facts()["vit.eps"], "0.000000000001");
    // Without its config the heads are not known, and eps is the default of such models.
    fs::remove_file(place.path().join("config.json")).unwrap();
    assert!(refusal(place.path(), LoadOptions::default()).contains("how many heads"));
    let alone = load_with(place.path(), LoadOptions { reading: HEADS, ..LoadOptions::default() }).unwrap();
    assert_eq!(alone.backbone.facts(), whole.backbone.facts());
}

#[test]
fn moco_is_read_where_one_encoder_stands_alone() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("a.safetensors");
    let all = tensors(VitConfig::sized(8, 4, 384, 1));
    let behind =
        |prefix: &str| all.iter().map(|(name, value)| (format!("{prefix}{name}"), value)).collect::<Vec<_>>();
    for prefix in ["module.base_encoder.", "module.momentum_encoder."] {
        save_safetensors(&file, &behind(prefix), &Metadata::new()).unwrap();
        let loaded = load_with(&file, LoadOptions::default()).unwrap();
        assert_eq!(loaded.backbone.facts()["vit.heads"], "12", "MoCo-v3's ViT-S has 12");
    }
    assert_eq!(flat(&file, &all, Reading::default()).backbone.facts()["vit.heads"], "6");
}

/// A layout that is recognised, with a tensor that it cannot have.
#[test]
fn foreign_shapes_in_a_known_layout_are_named() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("a.safetensors");
    let hf = Checkpoint::open(&golden("ckpt_hf")).unwrap();
    let mut all: Vec<_> = hf.entries().keys().map(|name| (name.clone(), hf.tensor(name).unwrap())).collect();
    let key =
        all.iter().position(|(name, _)| name.ends_with("layer.1.attention.attention.key.weight")).unwrap();
    all[key].1 = Tensor::from_vec(vec![0.0; 24 * 12], &[24, 12]);
    save_safetensors(&file, &borrowed(&all), &Metadata::new()).unwrap();
    let told = refusal(&file, LoadOptions::default());
    assert!(told.contains("query.weight [24, 24] differs in shape from its key or value"), "{told}");
    all.remove(key);
    save_safetensors(&file, &borrowed(&all), &Metadata::new()).unwrap();
    assert!(refusal(&file, LoadOptions::default()).contains("stands without its key or value"));

    let google = Checkpoint::open(&golden("ckpt_google.npz")).unwrap();
    let mut all: Vec<_> =
        google.entries().keys().map(|name| (name.clone(), google.tensor(name).unwrap())).collect();
    let patches = all.iter_mut().find(|(name, _)| name == "embedding/kernel").unwrap();
    patches.1 = Tensor::from_vec(vec![0.0; 48 * 24], &[48, 24]);
    save_safetensors(&file, &borrowed(&all), &Metadata::new()).unwrap();
    let told = refusal(&file, LoadOptions::default());
    assert!(told.contains("embedding/kernel [48, 24] must have four axes"), "{told}");
}
