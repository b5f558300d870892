//! What methods offer beside logits, loss and gradients, where a file has it: assignments to prototypes, the input that a
//! method makes of an image, attention of the class token, and gates of scans.

use std::collections::BTreeMap;

use autograd::{Tape, Var};
use engine::DType;
use ptx::linear::linear;
use svp::gates::{TokenGates, scan_gates};
use svp::methods::linear::Frozen;
use svp::model::Model;
use svp::pass::{Pass, Seen};
use testkit::golden::values;

use crate::method_training::MethodTraining;

/// What the images of the file are told apart by, where the method has prototypes: their features in the frozen
/// backbone, distances to the prototypes, and the nearest one.
pub fn assigned(model: &mut Model, training: &MethodTraining) -> BTreeMap<String, Vec<f32>> {
    let Some(prototypes) = model.method.prototypes() else { return BTreeMap::new() };
    let assignment = values(&model.assignment(training.images().clone()).unwrap().unwrap());
    let own = std::mem::replace(&mut model.method, Box::new(Frozen));
    let features = model.features(training.images().clone()).unwrap();
    model.method = own;
    let (d, prototypes) = (features.shape()[1], values(model.params.get(prototypes)));
    let features = values(&features);
    let distance = |x: &[f32], p: &[f32]| {
        x.iter().zip(p).map(|(&x, &p)| (f64::from(x) - f64::from(p)).powi(2)).sum::<f64>().sqrt() as f32
    };
    let of = |x| prototypes.chunks_exact(d).map(move |p| distance(x, p));
    let distances = features.chunks_exact(d).flat_map(of).collect();
    let named = [("clean_features", features.clone()), ("distances", distances), ("assignment", assignment)];
    named.map(|(name, values)| (name.into(), values)).into()
}

/// The backbone's input, and the logits of its own head, where the method makes that input of images in 0..=1.
pub fn shrunken(model: &Model, training: &MethodTraining) -> BTreeMap<String, Vec<f32>> {
    if model.method.picture().is_none() {
        return BTreeMap::new();
    }
    let tape = Tape::inference(&model.device);
    let params = model.params.bind(&tape);
    let images = Var::constant(training.images().to_owned_on(&model.device));
    let mut pass = Pass::new(&tape, &params, DType::F32);
    let input = values(model.method.pixels(&mut pass, images).unwrap().value());
    let features = Var::constant(model.features(training.images().clone()).unwrap());
    let own = ["weight", "bias"].map(|part| &params[model.params.id(&format!("head.{part}")).unwrap()]);
    let logits = values(linear(&tape, &features, own[0], Some(own[1])).unwrap().value());
    [("model_input".into(), input), ("source_logits".into(), logits)].into()
}

/// What the class token attends to in each block, and the patches that the method has chosen by it, where the file has them: for
/// each image the mean over the heads of every key, and numbers of patches.
pub fn attention(model: &Model, training: &MethodTraining) -> BTreeMap<String, Vec<f32>> {
    let mut seen_all = BTreeMap::new();
    if !training.stored("output.").keys().any(|name| name.starts_with("attention.")) {
        return seen_all;
    }
    let mut patches = vec![];
    let mut look = |seen: Seen| {
        match seen {
            Seen::Attention(attended) => {
                let &[_, heads, keys] = attended.class_attention.shape() else { unreachable!("three axes") };
                let (all, extra) = (values(attended.class_attention.value()), attended.extra);
                let mean = |image: &[f32], key| {
                    image.chunks_exact(keys).map(|head| f64::from(head[key])).sum::<f64>() / heads as f64
                };
                let of = |image| (0..keys).map(move |key| mean(image, key) as f32);
                let means = all.chunks_exact(heads * keys).flat_map(of).collect();
                seen_all.insert(format!("attention.{}", attended.layer), means);
                let own = |row: &usize| *row != attended.class_row && !attended.prompt_rows.contains(row);
                patches = (0..keys - extra).filter(own).collect();
            }
            Seen::Rows(chosen) => {
                let number =
                    |row: f32| patches.iter().position(|&patch| patch as f32 == row).expect("a patch");
                let numbers = values(chosen.rows.value()).into_iter().map(|row| number(row) as f32).collect();
                seen_all.insert(format!("salient.{}", chosen.layer), numbers);
            }
            Seen::Scan(_) => {}
        }
        Ok(())
    };
    model.observe(training.images().clone(), true, &mut look).unwrap();
    seen_all
}

/// The gates of every scan, where the file has them: means over channels and states.
pub fn gates(model: &Model, training: &MethodTraining) -> Option<BTreeMap<String, Vec<f32>>> {
    let stored = training.stored("gates.");
    if stored.is_empty() || !model.backbone.has_gates() {
        return None;
    }
    let batch = training.size("batch");
    // Update and forget gate of every row of every image, for each layer and direction.
    let mut scans: Vec<Vec<TokenGates>> = vec![];
    model
        .observe(training.images().clone(), true, &mut |seen| {
            let Seen::Scan(scanned) = seen else { return Ok(()) };
            for (direction, at) in scanned.directions.iter().zip(0..) {
                scans.push(scan_gates(direction, scanned.prompts.map(|prompts| &prompts[at]))?);
            }
            Ok(())
        })
        .unwrap();
    let mut gates = BTreeMap::new();
    for (name, of) in [("update", (|g| g.0) as fn(&TokenGates) -> f64), ("forget", |g| g.1)] {
        let rows = scans[0].len() / batch;
        let image =
            |i: usize| scans.iter().flat_map(move |scan| scan[i * rows..(i + 1) * rows].iter().map(of));
        let each: Vec<f64> = (0..batch).flat_map(image).collect();
        let all = each.len() / batch;
        let mean = |at: usize| (0..batch).map(|i| each[i * all + at]).sum::<f64>() / batch as f64;
        gates.insert(name.into(), (0..all).map(|at| mean(at) as f32).collect());
        gates.insert(format!("{name}_per_image"), each.iter().map(|&gate| gate as f32).collect());
    }
    Some(gates)
}
