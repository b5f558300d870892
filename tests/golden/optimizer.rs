//! The optimiser that a golden file describes.

use std::collections::{BTreeMap, BTreeSet};

use engine::Tensor;
use serde_json::{Map, Value};
use svp::methods::OptimizerKind;

/// The optimiser of the five steps.
#[derive(Debug)]
pub struct Optimizer {
    /// Its name: `adamw`, `sgd` or `adam`.
    pub name: String,
    /// Its numbers as the file names them: `lr`, `momentum`, `betas`, `eps`, `weight_decay`, `no_decay`.
    pub settings: Map<String, Value>,
}

impl Optimizer {
    /// Reads the description of the file. Panics where it names no optimiser.
    pub fn new(description: Value) -> Self {
        let Value::Object(settings) = description else { panic!("{description} is no object") };
        let name = settings.get("type").or(settings.get("name")).and_then(Value::as_str);
        Optimizer { name: name.expect("a named optimiser").into(), settings }
    }

    /// A number that the file gives, or 0 where it gives none, as for the decay of Adam.
    pub fn number(&self, name: &str) -> f64 {
        self.settings.get(name).map_or(0.0, |value| value.as_f64().expect("a number"))
    }

    /// The decay of every tensor by its name, where the file gives it by groups of names.
    pub fn groups(&self) -> Option<BTreeMap<&str, f64>> {
        let groups = self.settings.get("groups")?.as_array().expect("a list");
        let each = groups.iter().flat_map(|group| {
            let decay = group["weight_decay"].as_f64().expect("a number");
            let names = group["names"].as_array().expect("a list of names").iter();
            names.map(move |name| (name.as_str().expect("a name"), decay))
        });
        Some(each.collect())
    }

    /// The decay of what decays, of the head or of all else, which must be one number.
    pub fn decay(&self, of_head: bool) -> f64 {
        let Some(groups) = self.groups() else { return self.number("weight_decay") };
        let groups =
            groups.into_iter().filter(|(name, decay)| name.starts_with("head.") == of_head && *decay > 0.0);
        let decays: BTreeSet<_> = groups.map(|(_, decay)| decay.to_bits()).collect();
        assert!(decays.len() <= 1, "several decays");
        decays.first().map_or(0.0, |&bits| f64::from_bits(bits))
    }

    /// Whether a tensor decays, where the file says it; the program's rule otherwise.
    pub fn decays(&self, kind: OptimizerKind, name: &str, value: &Tensor) -> bool {
        self.groups().map_or_else(|| kind.decays(name, value), |groups| groups[name] > 0.0)
    }

    /// The optimiser that the file names, whose betas and eps must be those of the program.
    pub fn kind(&self) -> OptimizerKind {
        let fixed = [
            ("betas", serde_json::json!([0.9, 0.999])),
            ("beta1", serde_json::json!(0.9)),
            ("beta2", serde_json::json!(0.999)),
            ("eps", serde_json::json!(1e-8)),
        ];
        for (name, value) in fixed {
            assert!(self.settings.get(name).is_none_or(|given| *given == value), "{name} of {}", self.name);
        }
        serde_json::from_value(self.name.as_str().into()).unwrap_or_else(|e| panic!("{e}"))
    }
}
