//! Rows that self-prompts begin as: those that enter each layer, and windows of them.

use engine::{Device, Tensor};
use svp::backbones::Shapes;
use svp::backbones::vim::{Vim, VimConfig};
use svp::methods::Chosen;
use svp::methods::spt::{Start, rows};
use svp::model::{Model, Parts};
use svp::params::Params;
use testkit::golden::{Differences, Golden};

const ROWS: f64 = 1e-4;
const POOLED: f64 = 1e-6;

/// Compares the captured rows, and every candidate and prompt that the file has, made of its own rows.
pub fn spt_init(device: &Device, golden: &Golden) -> Vec<String> {
    let mut found = Differences::default();
    let [layers, images, patches, width] = golden.get("rows").shape()[..] else { panic!("rows") };
    let stored = golden.get("rows").as_slice();
    let mut captured = vec![0.0; stored.len()];
    let place = |layer, image| (layer * images + image) * patches * width;
    rows(&model(device, golden), golden.get("input.images").clone(), layers, &mut |image, layer, rows| {
        captured[place(layer, image)..][..patches * width].copy_from_slice(rows);
    })
    .unwrap();
    found.compare("rows", &captured, stored, ROWS);

    let prompt = |how: Start, n: usize, layer: usize, index: usize| {
        let origin = how.origin(n, patches, images, index);
        let rows = &stored[place(layer, origin.image)..][origin.rows.start * width..origin.rows.end * width];
        how.prompt(rows, width)
    };
    let drawn = |key: &str| -> Vec<(usize, usize)> {
        let index = &golden.integers[&format!("index.{key}")];
        let n = index.len() / layers;
        index.iter().enumerate().map(|(i, &index)| (i / n, index as usize)).collect()
    };
    let prompts = |key: &str, how, n| -> Vec<f32> {
        drawn(key).into_iter().flat_map(|(layer, index)| prompt(how, n, layer, index)).collect()
    };
    let random = golden.get("prompt.random").as_slice();
    let n = golden.size("n_random");
    assert_eq!(prompts("random", Start::Random, n), random, "drawn rows are the rows themselves");
    for (name, how) in [("mean_pooling", Start::MeanPooling), ("max_pooling", Start::MaxPooling)] {
        for n in [4, 5] {
            let key = format!("{name}.n{n}");
            let all: Vec<f32> = (0..layers * n * images)
                .flat_map(|i| prompt(how, n, i / (n * images), i % (n * images)))
                .collect();
            let want = |kind: &str| golden.get(&format!("{kind}.{key}")).as_slice();
            found.compare(&format!("candidates.{key}"), &all, want("candidates"), POOLED);
            found.compare(&format!("prompt.{key}"), &prompts(&key, how, n), want("prompt"), POOLED);
        }
    }
    found.0
}

/// The backbone of the file.
fn model(device: &Device, golden: &Golden) -> Model {
    let stored =
        golden.tensors.iter().filter_map(|(name, value)| Some((name.strip_prefix("param.")?, value)));
    let stored: std::collections::BTreeMap<&str, &Tensor> = stored.collect();
    let shapes: Shapes = stored.iter().map(|(name, value)| (*name, value.shape())).collect();
    let config = VimConfig::of_shapes(&shapes, Some(golden.size("stride"))).expect("a Vim");
    let mut params = Params::default();
    let vim = Vim::build(config, &mut params, |name, _| Ok(stored[name].clone())).unwrap();
    let parts = Parts::new(Chosen::named("spt").unwrap(), 1);
    Model::new(device, Box::new(vim), params, parts, 0).unwrap()
}
