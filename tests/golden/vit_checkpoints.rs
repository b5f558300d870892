//! Checkpoints of ViTs in every layout: what must be loaded, and what is computed with it.

use std::collections::BTreeSet;
use std::path::Path;

use autograd::Tape;
use engine::{Device, Tensor};
use svp::backbones::{LoadOptions, Loaded, Pool, Reading, load};
use svp::checkpoint::Checkpoint;
use svp::heads::HeadKind;
use svp::methods::Chosen;
use svp::model::{Model, Parts};
use svp::pass::Noise;
use testkit::golden::{Differences, Golden, values};

const OUTPUT: f64 = 1e-4;

/// Compares the checkpoint that the file names, beside it, with what the file expects of it, once for each way of pooling.
pub fn compare(device: &Device, path: &Path, golden: &Golden) -> Vec<String> {
    let mut found = Differences::default();
    for name in golden.setting("pools").split(',') {
        let pool = match name {
            "class" => Pool::Class,
            "mean_norm" => Pool::Mean,
            "mean_fc_norm" | "mean_fresh" => Pool::Mae,
            other => panic!("no pooling {other}"),
        };
        let loaded = loaded(&path.with_file_name("").join(golden.setting("file")), golden, pool);
        let eps: f32 = golden.setting("norm_eps").parse().expect("a number");
        let told: f32 = loaded.backbone.facts()["vit.eps"].parse().expect("a number");
        assert_eq!(told, eps, "eps");
        compare_loaded(&loaded, golden, name == "mean_fresh", &mut found);
        compare_outputs(device, loaded, golden, name, &mut found);
    }
    found.0
}

/// Loads the checkpoint. Google's layout and Hugging Face's tell the number of heads, others do not.
fn loaded(path: &Path, golden: &Golden, pool: Pool) -> Loaded {
    let file = Checkpoint::open(path).unwrap();
    let told = golden.setting("layout").contains("npz") || golden.setting("layout").starts_with("HF");
    if !told {
        let refused =
            load(&file, LoadOptions::default()).err().expect("nothing says how many heads").to_string();
        assert!(refused.contains("how many heads") && refused.ends_with("give --heads"), "{refused}");
    }
    let heads = if told { None } else { Some(golden.size("num_heads")) };
    let reading = Reading { heads, normalise: None, pool: Some(pool) };
    let loaded =
        load(&file, LoadOptions { reading, ..LoadOptions::default() }).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(loaded.backbone.facts()["vit.heads"], golden.setting("num_heads"));
    loaded
}

/// Every tensor must be there under timm's name, with the very values; where the norm is a new one, all others.
fn compare_loaded(loaded: &Loaded, golden: &Golden, fresh_norm: bool, found: &mut Differences) {
    let own = loaded.params.iter().map(|param| (param.name.as_str(), &param.value));
    let head = loaded.head.iter().flat_map(|[w, b]| [("head.weight", w), ("head.bias", b)]);
    let is_norm = |name: &str| name.starts_with("norm.") || name.starts_with("fc_norm.");
    let own: Vec<(&str, &Tensor)> =
        own.chain(head).filter(|(name, _)| !fresh_norm || !is_norm(name)).collect();
    let want = golden.tensors.keys().filter_map(|name| name.strip_prefix("param."));
    let want: BTreeSet<&str> = want.filter(|name| !fresh_norm || !is_norm(name)).collect();
    let names: BTreeSet<&str> = own.iter().map(|(name, _)| *name).collect();
    if names != want {
        let names: Vec<_> = names.symmetric_difference(&want).collect();
        found.0.push(format!("in one of file and model alone: {names:?}"));
    }
    for (name, value) in own {
        let Some(want) = golden.tensors.get(&format!("param.{name}")) else { continue };
        let bits = |of: &Tensor| values(of).iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        if value.shape() != want.shape() || bits(value) != bits(want) {
            found.0.push(format!("param.{name} differs"));
        }
    }
}

fn compare_outputs(device: &Device, loaded: Loaded, golden: &Golden, pool: &str, found: &mut Differences) {
    let Loaded { backbone, params, head, .. } = loaded;
    let method = Chosen::named("linear").unwrap();
    let parts = Parts::new(method, golden.size("num_classes"));
    let parts = match &head {
        Some(_) => Parts { head: HeadKind::named("first-k").unwrap(), source_head: head, ..parts },
        None => parts,
    };
    let has_head = parts.source_head.is_some();
    let model = Model::new(device, backbone, params, parts, 0).unwrap();
    let images = golden.get("input.images");
    let forward = model.forward(&Tape::inference(device), images.clone(), Noise::default()).unwrap();
    let mut compare = |name: &str, got: &Tensor| {
        found.compare(name, &values(got), golden.get(name).as_slice(), OUTPUT);
    };
    let rows = if pool == "class" { "output.hidden" } else { "output.rows" };
    compare(rows, forward.tokens.h.value());
    compare(&format!("output.pooled.{pool}"), &model.features(images.clone()).unwrap());
    if has_head {
        compare("output.logits", forward.logits.value());
    }
}
