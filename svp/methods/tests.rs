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
        false => {
            let config = VitConfig { heads: 2, ..VitConfig::sized(16, 4, 16, depth) };
            Box::new(Vit::init(config, params, 5).unwrap())
        }
    }
}

/// Checks what every entry of the registry must hold.
#[test]
fn entries_are_whole() {
    let mut names = HashSet::new();
    for entry in METHODS {
        let name = entry.name;
        assert!(names.insert(name) && !name.contains([' ', '_']), "{name}");
        assert!(
            !entry.title.is_empty() && !entry.trains.is_empty() && entry.about.contains("backbone"),
            "{name}"
        );
        assert!(!entry.views.is_empty(), "{name} cannot be drawn");
        assert!(!entry.backbones.is_empty(), "{name} runs on nothing");
        for family in entry.backbones {
            assert!(FAMILIES.iter().any(|known| known.name == *family), "{name} runs on {family}");
        }
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
    assert_eq!(merged, ["linear", "full", "bitfit", "lora", "ssf", "lora"]);
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
