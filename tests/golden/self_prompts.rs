//! Rows that self-prompts begin as: those that enter each layer, and windows of them.

use std::collections::BTreeMap;

use engine::{Device, Tensor};
use svp::backbones::vim::{Vim, VimConfig};
use svp::backbones::vit::{Vit, VitConfig};
use svp::backbones::{Backbone, Shapes};
use svp::methods::Chosen;
use svp::methods::spt::{Start, rows};
use svp::model::{Model, Parts};
use svp::params::Params;
use testkit::golden::{Differences, Golden};

const ROWS: f64 = 1e-4;
const POOLED: f64 = 1e-6;
/// The tolerance that the files of a ViT are published with.
const VIT: f64 = 1e-5;

const POOLINGS: [(&str, Start); 2] =
    [("mean_pooling", Start::MeanPooling), ("max_pooling", Start::MaxPooling)];

/// The rows of a file, `[layers images patches width]`.
struct Stored {
    rows: Vec<f32>,
    sizes: [usize; 4],
}

impl Stored {
    /// Compares them with those that the backbone computes.
    fn compare(&self, device: &Device, golden: &Golden, tolerance: f64, found: &mut Differences) {
        let [layers, images, patches, width] = self.sizes;
        let mut captured = vec![0.0; self.rows.len()];
        let model = model(device, golden, self.sizes);
        rows(&model, golden.get("input.images").clone(), layers, &mut |image, layer, rows| {
            captured[(layer * images + image) * patches * width..][..patches * width].copy_from_slice(rows);
        })
        .unwrap();
        found.compare("rows", &captured, &self.rows, tolerance);
    }

    /// The prompt that candidate `index` of a layer makes.
    fn prompt(&self, how: Start, n: usize, layer: usize, index: usize) -> Vec<f32> {
        let [_, images, patches, width] = self.sizes;
        let origin = how.origin(n, patches, images, index);
        let rows = &self.rows[(layer * images + origin.image) * patches * width..];
        how.prompt(&rows[origin.rows.start * width..origin.rows.end * width], width)
    }

    /// The prompts of all layers by the indices of their candidates, layer by layer.
    fn prompts(&self, how: Start, n: usize, indices: &[i64]) -> Vec<f32> {
        let each = indices.iter().enumerate();
        each.flat_map(|(i, &index)| self.prompt(how, n, i / n, index as usize)).collect()
    }
}

/// Compares the captured rows, and every candidate and prompt that the file of a Vim has, made of its own rows.
pub fn spt_init(device: &Device, golden: &Golden) -> Vec<String> {
    let mut found = Differences::default();
    let sizes = golden.get("rows").shape().try_into().expect("four axes");
    let stored = Stored { rows: golden.get("rows").as_slice().to_vec(), sizes };
    stored.compare(device, golden, ROWS, &mut found);
    let prompts = |key: &str, how, n| stored.prompts(how, n, &golden.integers[&format!("index.{key}")]);
    let random = golden.get("prompt.random").as_slice();
    let n = golden.size("n_random");
    assert_eq!(prompts("random", Start::Random, n), random, "drawn rows are the rows themselves");
    let [layers, images, ..] = sizes;
    for (name, how) in POOLINGS {
        for n in [4, 5] {
            let key = format!("{name}.n{n}");
            let all: Vec<f32> = (0..layers * n * images)
                .flat_map(|i| stored.prompt(how, n, i / (n * images), i % (n * images)))
                .collect();
            let want = |kind: &str| golden.get(&format!("{kind}.{key}")).as_slice();
            found.compare(&format!("candidates.{key}"), &all, want("candidates"), POOLED);
            found.compare(&format!("prompt.{key}"), &prompts(&key, how, n), want("prompt"), POOLED);
        }
    }
    found.0
}

/// The same for the file of a ViT, which has rows and indices of each layer apart, and no list of candidates.
pub fn vit_spt_init(device: &Device, golden: &Golden) -> Vec<String> {
    let mut found = Differences::default();
    let layers = golden.size("depth");
    let of_layer = |layer: usize| golden.get(&format!("rows.{layer}"));
    let &[images, patches, width] = of_layer(0).shape() else { panic!("rows have three axes") };
    let rows = (0..layers).flat_map(|layer| of_layer(layer).as_slice().to_vec()).collect();
    let stored = Stored { rows, sizes: [layers, images, patches, width] };
    stored.compare(device, golden, VIT, &mut found);
    let cases: BTreeMap<String, serde_json::Value> =
        serde_json::from_str(golden.setting("cases")).expect("cases by name");
    assert!(!cases.is_empty());
    for (name, case) in cases {
        let (mode, n) =
            (case["mode"].as_str().expect("a word"), case["n"].as_u64().expect("a number") as usize);
        let pooling = POOLINGS.iter().find(|(known, _)| *known == mode);
        let how = pooling.map_or(Start::Random, |(_, how)| *how);
        let indices: Vec<i64> = (0..layers)
            .flat_map(|layer| golden.integers[&format!("{name}.indices.{layer}")].clone())
            .collect();
        let want = golden.get(&format!("{name}.prompt_token"));
        found.compare(&name, &stored.prompts(how, n, &indices), want.as_slice(), VIT);
    }
    found.0
}

/// The backbone of the file.
fn model(device: &Device, golden: &Golden, [depth, ..]: [usize; 4]) -> Model {
    let stored =
        golden.tensors.iter().filter_map(|(name, value)| Some((name.strip_prefix("param.")?, value)));
    let stored: BTreeMap<&str, &Tensor> = stored.collect();
    let shapes: Shapes = stored.iter().map(|(name, value)| (*name, value.shape())).collect();
    let mut params = Params::default();
    let value = |name: &str, _: &[usize]| Ok(stored[name].clone());
    let stride = Some(golden.size("stride"));
    let backbone: Box<dyn Backbone> = match VitConfig::of_shapes(&shapes, stride) {
        Some((config, _)) => {
            let config = VitConfig { heads: golden.size("num_heads"), ..config };
            Box::new(Vit::build(config, &mut params, value).unwrap())
        }
        None => {
            let config = VimConfig::of_shapes(&shapes, stride).expect("a Vim or a ViT");
            Box::new(Vim::build(config, &mut params, value).unwrap())
        }
    };
    assert!(backbone.spec().depth >= depth);
    let parts = Parts::new(Chosen::named("spt").unwrap(), 1);
    Model::new(device, backbone, params, parts, 0).unwrap()
}
