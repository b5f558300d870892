//! Runs what a file of kind `method_training` or `merge` names: its method, with its settings, on its backbone.

use autograd::Tape;
use engine::{DType, Device, Tensor};
use ptx::clamp::clamp;
use ptx::grad_norm::healthy;
use svp::backbones::vim::{self, Vim, VimConfig};
use svp::backbones::vit::{self, Vit, VitConfig};
use svp::backbones::{Backbone, Pool, Shapes};
use svp::heads::{HeadKind, Labels};
use svp::methods::linear::Frozen;
use svp::methods::{Chosen, Kind};
use svp::model::{Forward, Model, Parts};
use svp::params::Params;
use svp::pass::{Noise, Tokens};
use svp::train::{self as steps, Rates};
use testkit::golden::{Differences, values};

use crate::method_training::{MethodTraining, OUTPUT, Outputs};
use crate::offered::{assigned, attention, gates, shrunken};

const MERGED: f64 = 1e-5;

/// Runs the same five steps with the method that the file names, on its backbone, with activations of a type; `None` where there is no such method
/// or backbone.
pub fn run_method(device: &Device, training: &MethodTraining, dtype: DType) -> Option<Outputs> {
    let model = model(device, training)?.in_precision(dtype).unwrap();
    Some(run(device, training, model))
}

fn run(device: &Device, training: &MethodTraining, mut model: Model) -> Outputs {
    let kind = training.optimizer.kind();
    let number = |name: &str| training.optimizer.number(name);
    let rates = [false, true].map(|of_head| {
        let weight_decay = training.optimizer.decay(of_head);
        Rates { lr: number("lr"), weight_decay, momentum: number("momentum") }
    });
    let decays = |name: &str, value: &Tensor| training.optimizer.decays(kind, name, value);
    let mut optimizer = steps::Optimizer::new(kind, device, &model.params, decays);
    let labels = Labels::Classes(training.labels());
    let classes = model.classes();
    let targets = model.head.targets(&labels, classes, training.label_smoothing, 1.0).unwrap();
    let targets = Tensor::from_slice(device, &targets, &[labels.images(), classes]);
    let mut health = healthy(device);
    let gates = gates(&model, training);
    let mut others = assigned(&mut model, training);
    others.extend(shrunken(&model, training));
    others.extend(attention(&model, training));
    let mut outputs = Outputs { gates, others, ..Outputs::default() };
    for step in 0..training.tensor("trajectory.losses").numel() {
        let tape = Tape::new(device).checking_finite();
        let forward = model.forward(&tape, training.images().clone(), Noise::default()).unwrap();
        let loss = model.loss(&tape, &forward, &targets).unwrap();
        outputs.losses.push(values(loss.value())[0]);
        if step == 0 {
            outputs.logits = values(forward.logits.value());
            outputs.hidden = values(forward.tokens.h.value());
            outputs.loss = outputs.losses[0];
            if training.golden.tensors.contains_key("output.pooled") {
                let pooled = values(&model.features(training.images().clone()).unwrap());
                outputs.others.insert("pooled".into(), pooled);
            }
            if let Some(beside) = forward.tokens.beside.first() {
                outputs.others.insert("hidden_prompt".into(), values(beside.h.value()));
                let logits = model.logits_beside(&tape, &forward).unwrap().expect("a sequence beside");
                outputs.others.insert("logits_prompt".into(), values(logits.value()));
            }
            check_rows(training, &forward.tokens);
        }
        let Forward { bound, moved, .. } = forward;
        let grads = tape.backward(&loss, Tensor::from_slice(device, &[1.0], &[1])).unwrap();
        if step == 0 {
            for id in model.params.trained() {
                let grad = grads.get(&bound[id]).expect("a gradient for every trained tensor");
                outputs.grads.insert(model.params.name(id).into(), values(grad));
            }
        }
        let factors = [optimizer.next_factors(&rates[0]), optimizer.factors_of(&rates[1])];
        let factors = factors.map(|factors| {
            let factors = factors.unwrap();
            Tensor::from_slice(device, &factors, &[factors.len()])
        });
        let (params, loss) = (&mut model.params, loss.value());
        optimizer.step_apart(device, params, bound, loss, &grads, factors.each_ref(), &mut health).unwrap();
        model.follow(&moved, &health).unwrap();
    }
    // Of what is not trained, the file has the values that follow each batch.
    let moves = |name: &str| training.golden.tensors.contains_key(&format!("trajectory.final.{name}"));
    let trained = model.params.trained();
    for id in model.params.saved() {
        let name = model.params.name(id);
        if trained.contains(&id) || moves(name) {
            outputs.finals.insert(name.into(), values(model.params.get(id)));
        }
    }
    let bounded = model.params.iter().filter_map(|param| Some((param.name.clone(), param.bounds?)));
    outputs.bounds = bounded.collect();
    outputs
}

/// Folds what the method of the file has trained into its backbone: all differences between the values of the file and those
/// computed before and after; `None` where there is no such method or backbone.
pub fn merge(device: &Device, training: &MethodTraining) -> Option<Vec<String>> {
    let mut model = model(device, training)?;
    let mut found = Differences::default();
    let logits = |model: &Model| values(&model.logits(training.images().clone()).unwrap());
    let before = logits(&model);
    found.compare("output.logits", &before, training.tensor("output.logits").as_slice(), OUTPUT);
    model.method.merge(&mut model.params).unwrap();
    model.params.replace_all(|_, value, _| value.to_device(device)).unwrap();
    model.method = Box::new(Frozen);
    for (name, want) in training.stored("merged.") {
        let got = values(model.params.get(model.params.id(name).expect("a tensor of the backbone")));
        found.compare(&format!("merged.{name}"), &got, want.as_slice(), OUTPUT);
    }
    let after = logits(&model);
    found.compare("output.logits_merged", &after, training.tensor("output.logits_merged").as_slice(), OUTPUT);
    found.compare("logits before and after", &after, &before, MERGED);
    Some(found.0)
}

/// The backbone of the file with its method and head, with all parameters from the file.
fn model(device: &Device, training: &MethodTraining) -> Option<Model> {
    let method = chosen(training)?;
    if !method.entry.backbones.contains(&training.backbone.as_str()) {
        return None;
    }
    let mut params = Params::default();
    let backbone = backbone(training, &mut params)?;
    let classes = training.size("num_classes");
    // A head of another size than the task's is the one with which the backbone was trained.
    let head = ["head.weight", "head.bias"].map(|name| training.params().get(name).copied().cloned());
    let head = head.into_iter().collect::<Option<Vec<Tensor>>>().and_then(|head| head.try_into().ok());
    let source_head = head.filter(|[_, bias]: &[Tensor; 2]| bias.numel() != classes);
    let own = match training.settings["head"].as_str() {
        Some("batchnorm") => HeadKind::named("batch-norm").unwrap(),
        _ => HeadKind::default(),
    };
    let parts = Parts { head: own, source_head, ..Parts::new(method, classes) };
    let mut model = Model::new(device, backbone, params, parts, 0).unwrap();
    let names: Vec<String> = model.params.iter().map(|param| param.name.clone()).collect();
    let stored = training.params();
    for name in &names {
        // What is found before training, and not trained, is an input of the file, or whole numbers of this name.
        let found = training.golden.tensors.get(&format!("input.{name}"));
        let numbers = training
            .golden
            .integers
            .get(name)
            .map(|all| Tensor::from_vec(all.iter().map(|&number| number as f32).collect(), &[all.len()]));
        let value = stored.get(name.as_str()).copied().or(found).cloned().or(numbers);
        let value = value.unwrap_or_else(|| panic!("neither param.{name} nor input.{name} is in the file"));
        model.params.set(model.params.id(name).unwrap(), value.to_owned_on(device));
    }
    // The published programs bring values between their bounds before each forward pass, ours after each step.
    for (value, [low, high]) in model.params.bounded_mut() {
        clamp(device, value, low, high).unwrap();
    }
    let unknown: Vec<_> = stored.keys().filter(|name| !names.iter().any(|known| known == **name)).collect();
    assert!(unknown.is_empty(), "{unknown:?} are not in the model");
    Some(model)
}

/// The method with the settings of the file, which are those that its entry declares, under their own or their
/// published names. The file gives `none` for settings that do not apply; other keys are facts about the run, as is the
/// start of values that the file holds.
fn chosen(training: &MethodTraining) -> Option<Chosen> {
    let mut chosen = Chosen::named(&training.method).ok()?;
    for (name, value) in training.settings.as_object().expect("settings are an object") {
        // How a tensor begins is in the file as values.
        let known = chosen.setting(&name.replace('_', "-")).filter(|_| name != "init");
        let Some(setting) = known else { continue };
        let value = match value.as_str().and_then(|text| word(&setting.kind, text)) {
            Some(word) => word.into(),
            None if value.as_str() == Some("none") => continue,
            None => toml::Value::try_from(value).expect("a plain value"),
        };
        chosen = chosen.with(name, &value).unwrap_or_else(|e| panic!("{e}"));
    }
    Some(chosen)
}

/// The word of a choice that the file's text says: the same, or else the one that is a part of it or that it is a part of, since
/// programs say `fully` and `prev` for what is `full` and `previous` here.
fn word(kind: &Kind, text: &str) -> Option<&'static str> {
    let words = match kind {
        Kind::Choice(words) | Kind::Auto(Kind::Choice(words)) => *words,
        _ => return None,
    };
    let like = |word: &&&str| word.contains(text) || text.contains(**word);
    words.iter().find(|word| **word == text).or_else(|| words.iter().find(like)).copied()
}

/// The backbone of the file, whose sizes follow from the shapes of its parameters.
fn backbone(training: &MethodTraining, params: &mut Params) -> Option<Box<dyn Backbone>> {
    let stored = training.params();
    let shapes: Shapes = stored.iter().map(|(name, value)| (*name, value.shape())).collect();
    let stride = Some(training.size("stride"));
    let value = |name: &str, shape: &[usize]| {
        let value = stored[name].clone();
        assert_eq!(value.shape(), shape, "{name}");
        Ok(value)
    };
    match training.backbone.as_str() {
        vim::NAME => {
            let config = VimConfig::of_shapes(&shapes, stride).expect("a Vim");
            Some(Box::new(Vim::build(config, params, value).unwrap()))
        }
        vit::NAME => {
            let (config, _) = VitConfig::of_shapes(&shapes, stride).expect("a ViT");
            let eps = training.golden.setting("norm_eps").parse().expect("a number");
            let pool = match training.golden.setting("pool") {
                "class" => Pool::Class,
                "mean_norm" => Pool::Mean,
                "mean_fc_norm" => Pool::Mae,
                other => panic!("no pooling {other}"),
            };
            let config = VitConfig { heads: training.size("num_heads"), eps, pool, ..config };
            assert_eq!(config.img_size, training.size("img_size"));
            Some(Box::new(Vit::build(config, params, value).unwrap()))
        }
        _ => None,
    }
}

/// Prompts and class token must stand where the file says, if it does.
fn check_rows(training: &MethodTraining, tokens: &Tokens) {
    if training.class_row.is_some() {
        assert_eq!(tokens.class_row, training.class_row, "row of the class token");
    }
    if let Some(rows) = training.settings.get("prompt_rows") {
        assert_eq!(serde_json::json!(tokens.prompt_rows), *rows, "rows of the prompts");
    }
}
