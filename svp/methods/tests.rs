use std::collections::HashSet;

use engine::Device;

use super::*;
use crate::backbones::vim::{self, Vim, VimConfig};
use crate::backbones::vit::{Vit, VitConfig};
use crate::backbones::{Backbone, FAMILIES};
use crate::model::{Model, Parts, count_parameters};
use crate::params::{BACKBONE, HEAD, Params};

/// A small backbone that a method runs on, 16 wide with 16 patches: a Vim where it does, else a ViT.
pub(crate) fn backbone(entry: &Entry, depth: usize, params: &mut Params) -> Box<dyn Backbone> {
    match entry.backbones.contains(&vim::NAME) {
        true => Box::new(Vim::init(VimConfig::sized(16, 4, 16, depth), params, 5).unwrap()),
        false => vit(depth, params),
    }
}

/// A ViT of the same sizes.
pub(crate) fn vit(depth: usize, params: &mut Params) -> Box<dyn Backbone> {
    let config = VitConfig { heads: 2, ..VitConfig::sized(16, 4, 16, depth) };
    Box::new(Vit::init(config, params, 5).unwrap())
}

/// Checks what every entry of the registry must hold.
#[test]
fn entries_are_whole() {
    let mut names = HashSet::new();
    for entry in METHODS {
        let name = entry.name;
        assert!(names.insert(name) && !name.is_empty() && !name.contains([' ', '_']), "{name}");
        assert!(
            !entry.title.is_empty() && !entry.trains.is_empty() && entry.about.contains("backbone"),
            "{name}"
        );
        assert!(!entry.views.is_empty(), "{name} cannot be drawn");
        assert!(!entry.backbones.is_empty(), "{name} runs on nothing");
        for family in entry.backbones {
            assert!(FAMILIES.iter().any(|known| known.name == *family), "{name} runs on {family}");
        }
        assert!(entry.default_on.iter().all(|family| entry.backbones.contains(family)), "{name}");
        let mut settings = HashSet::new();
        for setting in entry.settings {
            assert!(settings.insert(setting.name), "{name} has {} twice", setting.name);
            assert!(!setting.help.is_empty() && !setting.help.contains("default"), "{name} {}", setting.name);
            let read = setting.parse(&setting.default.to_string()).unwrap();
            assert_eq!(
                read, setting.default,
                "{name} {}: the default must be one of its values",
                setting.name
            );
        }
    }
}

/// A run without --method needs one method, whatever the backbone.
#[test]
fn each_family_has_one_default_method() {
    for family in FAMILIES {
        let defaults = METHODS.iter().filter(|entry| entry.default_on.contains(&family.name)).count();
        assert_eq!(defaults, 1, "{}", family.name);
    }
}

/// A setting that two methods share is one flag, so it must take the same kind of value.
#[test]
fn methods_agree_on_the_kinds_of_settings_they_share() {
    for name in setting_names() {
        let kinds: HashSet<_> = METHODS
            .iter()
            .flat_map(|entry| entry.settings)
            .filter(|setting| setting.name == name)
            .map(|setting| std::mem::discriminant(&setting.kind))
            .collect();
        assert_eq!(kinds.len(), 1, "--{name}");
    }
}

/// Builds every method with its defaults. It must train something, its parameters must be counted under a part of its
/// own, and its settings must survive a file.
#[test]
fn every_method_can_be_built() {
    for entry in METHODS {
        let chosen = Chosen::named(entry.name).unwrap();
        let mut params = Params::default();
        let backbone = backbone(entry, 2, &mut params);
        let parts = parts(chosen.clone());
        let model = Model::new(&Device::cpu(), backbone, params, parts, 5).unwrap();
        let counts = count_parameters(&model.params);
        let part = |name: &str| counts.iter().find(|count| count.module == name);
        let whole = (entry.head)(&chosen.settings).is_none();
        assert!(part(HEAD).is_some_and(|head| (head.trained == head.all) == whole), "{}", entry.name);
        let backbone = part(BACKBONE).unwrap();
        assert_eq!(backbone.trained == backbone.all, entry.whole_backbone, "{}", entry.name);
        let frozen = entry.views.iter().any(|(view, _)| *view == "frozen");
        assert_eq!(backbone.trained == 0, frozen, "{}", entry.name);
        if entry.keeps_features {
            assert!(counts.iter().all(|count| count.trained == 0 || count.module == HEAD), "{}", entry.name);
        }
        let text = toml::to_string(&chosen).unwrap();
        assert_eq!(toml::from_str::<Chosen>(&text).unwrap(), chosen);
    }
}

/// A method for 3 classes on a backbone that has a head of its own, with 7 logits.
fn parts(chosen: Chosen) -> Parts {
    let own = [&[7, 16][..], &[7]].map(|shape| engine::Tensor::zeros(&Device::cpu(), shape));
    Parts { source_head: Some(own), ..Parts::new(chosen, 3) }
}

/// Where a method can be folded into the backbone, the backbone alone must then have the same logits; else the refusal must
/// say what it refuses. All trained values are moved first, since most methods start as the frozen model.
#[test]
fn merged_models_compute_the_same() {
    let mut merged = vec![];
    for (name, settings) in METHODS.iter().map(|entry| (entry.name, vec![])).chain([
        ("ssf", vec![("shift", "false")]),
        ("lora", vec![("targets", "in_proj,x_proj,out_proj"), ("alpha", "3"), ("rank", "2")]),
    ]) {
        let mut chosen = Chosen::named(name).unwrap();
        for (setting, text) in &settings {
            chosen = chosen.with_flag(setting, text).unwrap();
        }
        let mut params = Params::default();
        let backbone = backbone(chosen.entry, 2, &mut params);
        let mut model = Model::new(&Device::cpu(), backbone, params, parts(chosen), 5).unwrap();
        let mut rng = engine::Rng::keyed(3, 0, 0, 0);
        for id in model.params.trained() {
            let (shape, values) =
                (model.params.get(id).shape().to_vec(), model.params.get(id).to_host().unwrap());
            let moved = values.iter().map(|value| value + 0.1 * rng.normal() as f32).collect();
            model.params.set(id, engine::Tensor::from_vec(moved, &shape));
        }
        let side = model.transform().size as usize;
        let images = (0..2 * 3 * side * side).map(|_| rng.normal() as f32).collect();
        let images = engine::Tensor::from_vec(images, &[2, 3, side, side]);
        let want = model.logits(images.clone()).unwrap().to_host().unwrap();
        match model.method.merge(&mut model.params) {
            Err(error) => assert!(error.to_string().contains("--merge"), "{name}: {error}"),
            Ok(()) => {
                model.method = Box::new(linear::Frozen);
                let got = model.logits(images).unwrap().to_host().unwrap();
                let far = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(far <= 2e-5, "{name} {settings:?}: {far:e}");
                merged.push(name);
            }
        }
    }
    assert_eq!(merged, ["linear", "full", "bitfit", "lora", "fact", "ssf", "lora"]);
}

/// The methods that can be folded into a ViT, whose products and norms have biases.
#[test]
fn merged_vits_compute_the_same() {
    for (name, settings) in [
        ("bitfit", &[][..]),
        ("lora", &[("targets", "qkv,proj,fc1,fc2"), ("alpha", "3"), ("rank", "2")]),
        ("lora", &[("targets", "qv"), ("init", "trunc-normal"), ("rank", "3")]),
        ("ssf", &[]),
        ("ssf", &[("shift", "false")]),
        ("fact", &[("rank", "3"), ("scale", "0.5")]),
        ("fact", &[("form", "tk"), ("rank", "3")]),
        ("bi-adapter", &[("form", "lora"), ("bits", "2"), ("width", "3")]),
    ] {
        let chosen = settings.iter().fold(Chosen::named(name).unwrap(), |chosen, (setting, text)| {
            chosen.with_flag(setting, text).unwrap()
        });
        let mut params = Params::default();
        let config = VitConfig { heads: 2, ..VitConfig::sized(16, 4, 16, 2) };
        let vit = Vit::init(config, &mut params, 5).unwrap();
        let mut model = Model::new(&Device::cpu(), Box::new(vit), params, parts(chosen), 5).unwrap();
        let mut rng = engine::Rng::keyed(3, 0, 0, 0);
        for id in model.params.trained() {
            let (shape, values) =
                (model.params.get(id).shape().to_vec(), model.params.get(id).to_host().unwrap());
            let moved = values.iter().map(|value| value + 0.1 * rng.normal() as f32).collect();
            model.params.set(id, engine::Tensor::from_vec(moved, &shape));
        }
        let images = (0..2 * 3 * 16 * 16).map(|_| rng.normal() as f32).collect();
        let images = engine::Tensor::from_vec(images, &[2, 3, 16, 16]);
        let adapted = model.logits(images.clone()).unwrap().to_host().unwrap();
        let own = std::mem::replace(&mut model.method, Box::new(linear::Frozen));
        let frozen = model.logits(images.clone()).unwrap().to_host().unwrap();
        own.merge(&mut model.params).unwrap();
        let merged = model.logits(images).unwrap().to_host().unwrap();
        let far = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(far(&merged, &adapted) <= 2e-5, "{name} {settings:?}: {:e}", far(&merged, &adapted));
        assert!(name == "bitfit" || far(&frozen, &adapted) > 1e-3, "{name} {settings:?} adapts nothing");
    }
}

/// Numbers that are published, or follow from the formulas of `docs/methods.md`, on ViT-B.
#[test]
fn parameters_of_a_vit_are_those_of_the_publications() {
    let count = |name: &str, settings: &[(&str, &str)]| {
        let chosen = settings.iter().fold(Chosen::named(name).unwrap(), |chosen, (setting, text)| {
            chosen.with_flag(setting, text).unwrap()
        });
        let mut params = Params::default();
        let zeros = |_: &str, shape: &[usize]| Ok(engine::Tensor::zeros(&Device::cpu(), shape));
        let vit = Vit::build(VitConfig::sized(224, 16, 768, 12), &mut params, zeros).unwrap();
        let model = Model::new(&Device::cpu(), Box::new(vit), params, Parts::new(chosen, 10), 5).unwrap();
        let own = count_parameters(&model.params).into_iter().filter(|count| count.module != HEAD);
        own.map(|count| count.trained).sum::<usize>()
    };
    for (name, settings, want) in [
        ("bitfit", &[][..], 102_912),
        ("lora", &[], 294_912),
        ("lora", &[("targets", "qv")], 294_912),
        ("adapter", &[("width", "12")], 230_544),
        ("adaptformer", &[], 1_189_632),
        ("adaptformer", &[("width", "8"), ("layernorm", "in")], 156_768 + 18_432),
        ("ssf", &[], 205_824),
        ("fact", &[], 1536 * 16 + 144 * 16 * 16),
        ("fact", &[("form", "tk")], 1536 * 16 + 144 * 16 + 16 * 16 * 16),
        ("sct", &[], 12 * (96 * 96 + 96)),
        ("snf", &[], 24 * (1536 + 1537 * 5)),
        ("bi-adapter", &[], 18_432 * 32),
        ("bi-adapter", &[("form", "lora"), ("width", "8")], 294_912),
    ] {
        assert_eq!(count(name, settings), want, "{name} {settings:?}");
    }
}

/// Adapters that begin as published leave the frozen model what it is.
#[test]
fn new_modules_begin_as_the_frozen_model() {
    for name in ["lora", "adapter", "adaptformer", "fact"] {
        let mut params = Params::default();
        let config = VitConfig { heads: 2, ..VitConfig::sized(16, 4, 16, 2) };
        let vit = Vit::init(config, &mut params, 5).unwrap();
        let parts = parts(Chosen::named(name).unwrap());
        let mut model = Model::new(&Device::cpu(), Box::new(vit), params, parts, 5).unwrap();
        let mut rng = engine::Rng::keyed(3, 0, 0, 0);
        let images = (0..3 * 16 * 16).map(|_| rng.normal() as f32).collect();
        let images = engine::Tensor::from_vec(images, &[1, 3, 16, 16]);
        let adapted = model.logits(images.clone()).unwrap().to_host().unwrap();
        model.method = Box::new(linear::Frozen);
        assert_eq!(adapted, model.logits(images).unwrap().to_host().unwrap(), "{name}");
    }
}

#[test]
fn products_of_another_family_are_refused() {
    let build = |targets: &str, on_vim: bool| {
        let chosen = Chosen::named("lora").unwrap().with_flag("targets", targets).unwrap();
        let mut params = Params::default();
        let backbone: Box<dyn Backbone> = match on_vim {
            true => Box::new(Vim::init(VimConfig::sized(16, 4, 16, 2), &mut params, 5).unwrap()),
            false => {
                let config = VitConfig { heads: 2, ..VitConfig::sized(16, 4, 16, 2) };
                Box::new(Vit::init(config, &mut params, 5).unwrap())
            }
        };
        let spec = backbone.spec();
        let mut site = Site { device: &Device::cpu(), spec, params: &mut params, seed: 5 };
        chosen.build(&mut site).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(build("in_proj", true), Ok(()));
    assert_eq!(build("auto", false), Ok(()));
    for (targets, on_vim, message) in [
        ("fc1", true, "fc1 is no product of a vim backbone; use in_proj, x_proj, out_proj"),
        ("in_proj,qkv", false, "in_proj is no product of a vit backbone; use qkv, qv, proj, fc1, fc2"),
        ("qkv,qv", false, "use one of the two"),
    ] {
        let error = build(targets, on_vim).unwrap_err();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn what_a_method_does_not_have_is_refused() {
    let refused = |method: &str, setting: &str, parts: &[&str]| {
        let error = Chosen::named(method).unwrap().with_flag(setting, "1").unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    };
    refused("linear", "hidden", &["--hidden", "not a setting of --method linear", "--method svp"]);
    refused("svp", "tokens", &["--tokens", "--method vpt"]);
    refused("svp", "colour", &["--colour", "--method svp --help"]);
    let error = Chosen::named("magic").unwrap_err().to_string();
    assert!(error.contains("magic") && error.contains("svp, linear, full"), "{error}");
    for (text, part) in [
        ("method = 'svp'\nsvp.colour = 1", "colour"),
        ("method = 'svp'\nlinear.hidden = 1", "unknown field `linear`"),
        ("method = 3", "not a name"),
        ("svp.hidden = 8", "method"),
    ] {
        let error = toml::from_str::<Chosen>(text).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}
