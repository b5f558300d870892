//! Five training steps of any method on any backbone: reads what the file specifies, and compares.
//!
//! Nothing here knows a particular method. [`run_method`](crate::method_run::run_method) looks up the name in the file in the
//! registry.

use std::collections::{BTreeMap, BTreeSet};

use engine::Tensor;
use serde_json::Value;
use svp::data::resize::square;
use testkit::golden::{Differences, Golden};

use crate::optimizer::Optimizer;

/// Outputs of every method.
const OUTPUTS: [&str; 3] = ["logits", "hidden", "loss"];

/// Of the outputs before the first step.
pub const OUTPUT: f64 = 1e-4;
const GRADIENT: f64 = 1e-3;
const TRAJECTORY: f64 = 1e-3;
/// Gradients that have a tolerance of their own: a row of a deep prompt is read through a norm alone, which does not see
/// its length but by the norm's eps, so what is left of the gradient of its mask is the difference of large numbers.
const BY_EPS: (&str, f64) = ("prompt_soft_tokens_mask_cls_token", 2e-2);
const RESIZED: f64 = 1e-5;
/// Largest value where the gradient is zero and only rounding is stored.
const ROUNDING: f32 = 1e-6;

/// The least and the largest value of tensors, by name.
type Bounds = BTreeMap<String, [f32; 2]>;

/// A file of kind `method_training`.
pub struct MethodTraining {
    /// The family of the backbone, such as `vim`.
    pub backbone: String,
    pub method: String,
    /// The method's settings, by the names of the file.
    pub settings: Value,
    pub optimizer: Optimizer,
    pub label_smoothing: f32,
    /// Row of the class token in the sequence that the blocks see, where the file gives it.
    pub class_row: Option<usize>,
    /// Names of the trained tensors.
    pub trained: Vec<String>,
    /// The file itself.
    pub golden: Golden,
}

/// The results of the same steps here. Values are flat, and names are those of the file without their prefix.
#[derive(Debug, Clone, Default)]
pub struct Outputs {
    /// Logits `[batch classes]`. Everything up to `grads` is from before the first step.
    pub logits: Vec<f32>,
    /// Rows `[batch rows width]` after the final norm, prompt rows included.
    pub hidden: Vec<f32>,
    pub loss: f32,
    /// The gradient of every trained tensor.
    pub grads: BTreeMap<String, Vec<f32>>,
    /// The loss before each of the five steps.
    pub losses: Vec<f32>,
    /// Every trained tensor after the five steps.
    pub finals: BTreeMap<String, Vec<f32>>,
    /// The bounds of the tensors that have some. The file has what the last step left, from before they are applied.
    pub bounds: Bounds,
    /// Gates by their name behind `gates.`; `None` where the device cannot compute them.
    pub gates: Option<BTreeMap<String, Vec<f32>>>,
    /// Further outputs that the method offers, by their name behind `output.`.
    pub others: BTreeMap<String, Vec<f32>>,
}

impl MethodTraining {
    /// Reads the metadata. Panics with the name of a part that is missing.
    pub fn new(golden: Golden) -> Self {
        let json = |name: &str| -> Value {
            serde_json::from_str(golden.setting(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
        };
        // Files of some backbones have a description for readers under this key, with the numbers beside it.
        let optimizer =
            if golden.metadata.contains_key("optimizer_json") { "optimizer_json" } else { "optimizer" };
        let optimizer = Optimizer::new(json(optimizer));
        MethodTraining {
            backbone: golden.setting("backbone").into(),
            // Names of files have `_`, those of the registry `-`.
            method: golden.setting("method").replace('_', "-"),
            settings: json("settings"),
            optimizer,
            label_smoothing: golden.setting("label_smoothing").parse().expect("a share"),
            class_row: golden.metadata.contains_key("class_row").then(|| golden.size("class_row")),
            trained: serde_json::from_value(json("trained")).expect("a list of names"),
            golden,
        }
    }

    /// Reads a file of kind `merge`, which has no steps.
    pub fn merged(mut golden: Golden) -> Self {
        for (name, none) in [("optimizer", r#"{"name": "sgd"}"#), ("label_smoothing", "0"), ("trained", "[]")]
        {
            golden.metadata.insert(name.into(), none.into());
        }
        Self::new(golden)
    }

    /// Names of method and backbone, for lists.
    pub fn name(&self) -> String {
        format!("{} on {}", self.method, self.backbone)
    }

    /// A size by its name in the file: `depth`, `embed_dim`, `img_size`, `patch`, `stride`, `num_classes`, `batch`, and
    /// those of the backbone's family.
    pub fn size(&self, name: &str) -> usize {
        self.golden.size(name)
    }

    /// Every parameter before the first step, frozen and trained.
    pub fn params(&self) -> BTreeMap<&str, &Tensor> {
        self.stored("param.")
    }

    /// A tensor by its full name, for inputs of a method's own such as `input.prototypes`.
    pub fn tensor(&self, name: &str) -> &Tensor {
        self.golden.get(name)
    }

    /// `[batch 3 side side]`, normalised unless the method does it.
    pub fn images(&self) -> &Tensor {
        self.tensor("input.images")
    }

    /// The class of each image.
    pub fn labels(&self) -> Vec<u32> {
        self.golden.labels()
    }

    /// The tensors whose names begin with a prefix, by the rest of their names.
    pub fn stored(&self, prefix: &str) -> BTreeMap<&str, &Tensor> {
        let named = self.golden.tensors.iter().map(|(name, value)| (name.strip_prefix(prefix), value));
        named.filter_map(|(name, value)| Some((name?, value))).collect()
    }

    /// Rows of tensors whose gradient is zero, as softmax does not see them, and of which the file has rounding alone.
    fn zero_rows(&self) -> BTreeMap<String, [usize; 2]> {
        let text = self.golden.metadata.get("zero_grad_slices");
        text.map_or_else(BTreeMap::new, |text| serde_json::from_str(text).expect("rows by name"))
    }

    /// The values but those of rows whose gradient is zero.
    fn moved(&self, name: &str, shape: &[usize], values: &[f32]) -> Vec<f32> {
        let Some(&[first, end]) = self.zero_rows().get(name) else { return values.to_vec() };
        let width: usize = shape[1..].iter().product();
        [&values[..first * width], &values[end * width..]].concat()
    }

    /// All differences between the values of the file and those that were computed.
    pub fn compare(&self, outputs: &Outputs) -> Vec<String> {
        let mut found = Differences::default();
        self.compare_resized(&mut found);
        let own = [&outputs.logits, &outputs.hidden, &vec![outputs.loss]];
        let own = OUTPUTS.into_iter().zip(own);
        let others = outputs.others.iter().map(|(name, got)| (name.as_str(), got));
        for (name, got) in own.chain(others) {
            let name = format!("output.{name}");
            let numbers =
                || self.golden.integers.get(&name).map(|all| all.iter().map(|&n| n as f32).collect());
            let want = self.golden.tensors.get(&name).map(|want| want.as_slice().to_vec()).or_else(numbers);
            match want {
                Some(want) => found.compare(&name, got, &want, OUTPUT),
                None => found.0.push(format!("{name} is not in the file")),
            }
        }
        let unbound = BTreeMap::new();
        self.compare_all(&mut found, "grad.", (&outputs.grads, &unbound), GRADIENT);
        for (name, got) in &outputs.grads {
            // Such gradients are zero by structure, not by rounding: a factor before a factor of zeros, or a pixel that
            // nothing reaches.
            let Some(want) = self.golden.tensors.get(&format!("grad.{name}")) else { continue };
            if let Some(&[first, end]) = self.zero_rows().get(name) {
                let width: usize = want.shape()[1..].iter().product();
                let rounding = got.iter().take(end * width).skip(first * width);
                if let Some(large) = rounding.copied().find(|v| !(v.abs() <= ROUNDING)) {
                    found.0.push(format!("grad.{name}: {large:e} where only rounding may be"));
                }
                continue;
            }
            let stray = got.iter().zip(want.as_slice()).position(|(&got, &want)| want == 0.0 && got != 0.0);
            if let Some(i) = stray {
                found.0.push(format!("grad.{name}: {:e} at {i}, where it is exactly zero", got[i]));
            }
        }
        let losses = self.golden.get("trajectory.losses").as_slice();
        if outputs.losses.len() != losses.len() {
            found.0.push(format!("{} losses, want {}", outputs.losses.len(), losses.len()));
        }
        for (step, (&got, &want)) in outputs.losses.iter().zip(losses).enumerate() {
            found.compare(&format!("loss before step {}", step + 1), &[got], &[want], TRAJECTORY);
        }
        self.compare_all(&mut found, "trajectory.final.", (&outputs.finals, &outputs.bounds), TRAJECTORY);
        if let Some(gates) = &outputs.gates {
            self.compare_all(&mut found, "gates.", (gates, &unbound), OUTPUT);
        }
        found.0
    }

    /// Compares a first step whose activations were bf16. Forward a block rounds about eight tensors and backward about ten,
    /// each by up to 2^-9 and independently; three of the standard deviations that this makes are allowed. The gradients of the
    /// head are compared as one and all others as one, because a gradient whose sum nearly cancels, as that of a bias may, is
    /// as far off as the terms of the sum are.
    pub fn compare_rounded(&self, outputs: &Outputs) -> Vec<String> {
        let mut found = Differences::default();
        let depth = self.size("depth") as f64;
        let [forward, backward] = [8.0, 18.0].map(|tensors: f64| 3.0 * (tensors * depth).sqrt() / 512.0);
        let want = self.tensor("output.hidden");
        let of_image = want.numel() / want.shape()[0];
        let mut images = Differences::default();
        for (got, want) in outputs.hidden.chunks(of_image).zip(want.as_slice().chunks(of_image)) {
            images.compare("hidden rows of an image", got, want, forward);
        }
        // iVPT adds to the patches of the highest scores. Of two that are nearly equal, rounding may make the other the higher,
        // and then both rows are others, which was seen in one image.
        let swapped = usize::from(self.method == "ivpt");
        found.0.extend(images.0.into_iter().skip(swapped));
        if outputs.hidden == self.tensor("output.hidden").as_slice() {
            found.0.push("hidden: bf16 computes as f32 does".into());
        }
        let want = self.stored("grad.");
        for (part, of_head) in [("the head's gradients", true), ("all other gradients", false)] {
            let (mut got, mut all) = (vec![], vec![]);
            for (name, grad) in outputs.grads.iter().filter(|(name, _)| name.starts_with("head.") == of_head)
            {
                got.extend_from_slice(grad);
                all.extend_from_slice(want[name.as_str()].as_slice());
            }
            found.compare(part, &got, &all, backward);
        }
        found.0
    }

    /// Compares what becomes of raw images, where the file has them.
    fn compare_resized(&self, found: &mut Differences) {
        let Some(raw) = self.golden.tensors.get("resize.raw") else { return };
        let &[_, _, height, width] = raw.shape() else { panic!("resize.raw {:?}", raw.shape()) };
        for (name, antialias) in [("resize.antialias", true), ("resize.plain", false)] {
            let want = self.tensor(name);
            let planes = raw.as_slice().chunks_exact(height * width);
            let resized = |plane| square(plane, [height, width], want.shape()[3], antialias);
            found.compare(name, &planes.flat_map(resized).collect::<Vec<_>>(), want.as_slice(), RESIZED);
        }
    }

    /// Stored results that were not computed and that [`compare`](Self::compare) therefore skips.
    pub fn passed_over(&self, outputs: &Outputs) -> Vec<String> {
        let gates = self.stored("gates.").into_keys().filter(|_| outputs.gates.is_none());
        let others = self.stored("output.").into_keys();
        let numbers = self.golden.integers.keys().filter_map(|name| name.strip_prefix("output."));
        let others = others.chain(numbers);
        let others = others.filter(|name| !OUTPUTS.contains(name) && !outputs.others.contains_key(*name));
        gates.map(|name| format!("gates.{name}")).chain(others.map(|name| format!("output.{name}"))).collect()
    }

    /// Compares all tensors under a prefix; the names must be the same. Values of the file that have bounds are brought between
    /// them.
    fn compare_all(
        &self,
        found: &mut Differences,
        prefix: &str,
        (got, bounds): (&BTreeMap<String, Vec<f32>>, &Bounds),
        tolerance: f64,
    ) {
        let want = self.stored(prefix);
        let names: BTreeSet<&str> = got.keys().map(String::as_str).chain(want.keys().copied()).collect();
        for name in names {
            match (got.get(name), want.get(name)) {
                (Some(got), Some(want)) if got.len() == want.numel() => {
                    let [got, mut want] = [got, want.as_slice()].map(|of| self.moved(name, want.shape(), of));
                    if let Some(&[low, high]) = bounds.get(name) {
                        want.iter_mut().for_each(|want| *want = want.clamp(low, high));
                    }
                    let by_eps = prefix == "grad." && name == BY_EPS.0;
                    let tolerance = if by_eps { BY_EPS.1 } else { tolerance };
                    found.compare(&format!("{prefix}{name}"), &got, &want, tolerance);
                }
                (Some(got), Some(want)) => {
                    found.0.push(format!("{prefix}{name}: {} values, want {}", got.len(), want.numel()));
                }
                (None, _) => found.0.push(format!("{prefix}{name} was not computed")),
                (_, None) => found.0.push(format!("{prefix}{name} is not in the file")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use svp::backbones::vit;
    use testkit::golden;

    use super::*;

    fn own() -> Vec<MethodTraining> {
        let files = golden::files(&crate::own()).into_iter().map(|path| Golden::open(&path));
        files.filter(|golden| golden.kind() == Some("method_training")).map(MethodTraining::new).collect()
    }

    /// The outputs of a program that computes exactly as published.
    fn stored(of: &MethodTraining) -> Outputs {
        let values = |prefix: &str| -> BTreeMap<String, Vec<f32>> {
            let named = of.stored(prefix).into_iter();
            named.map(|(name, value)| (name.into(), value.as_slice().to_vec())).collect()
        };
        let output = |name: &str| of.tensor(&format!("output.{name}")).as_slice().to_vec();
        let numbers = of.golden.integers.iter().filter_map(|(name, all)| {
            Some((name.strip_prefix("output.")?.into(), all.iter().map(|&n| n as f32).collect()))
        });
        Outputs {
            logits: output("logits"),
            hidden: output("hidden"),
            loss: output("loss")[0],
            grads: values("grad."),
            losses: of.tensor("trajectory.losses").as_slice().to_vec(),
            finals: values("trajectory.final."),
            bounds: BTreeMap::new(),
            gates: Some(values("gates.")),
            others: values("output.")
                .into_iter()
                .filter(|(name, _)| !OUTPUTS.contains(&name.as_str()))
                .chain(numbers)
                .collect(),
        }
    }

    #[test]
    fn the_files_hold_what_a_method_is_run_with() {
        let all = own();
        assert!(all.len() >= 10, "{} files", all.len());
        for of in all {
            let (batch, side) = (of.size("batch"), of.size("img_size"));
            let rows = ((side - of.size("patch")) / of.size("stride") + 1).pow(2) + 1;
            let side = of.settings["image"].as_u64().map_or(side, |side| side as usize);
            assert_eq!(of.images().shape(), [batch, 3, side, side]);
            assert_eq!(of.labels().len(), batch);
            assert!(of.labels().iter().all(|&label| (label as usize) < of.size("num_classes")));
            let hidden = of.tensor("output.hidden").shape();
            assert!(hidden[1] >= rows && of.class_row.is_none_or(|row| row < hidden[1]), "{}", of.name());
            assert!(of.class_row.is_some() || of.backbone == vit::NAME, "{}", of.name());
            let known = |setting: &str| of.optimizer.settings.contains_key(setting);
            assert!(if of.optimizer.name == "sgd" {
                known("momentum")
            } else {
                known("betas") || known("beta1")
            });
            assert!(of.optimizer.number("lr") > 0.0 && of.settings.is_object());
            assert!((0.0..1.0).contains(&of.label_smoothing) && !of.trained.is_empty());
            if let Some(groups) = of.optimizer.groups() {
                assert!(
                    groups.keys().copied().eq(BTreeSet::from_iter(of.trained.iter().map(String::as_str)))
                );
            }
            for name in &of.trained {
                let shape = of.params()[name.as_str()].shape();
                let [grad, last] =
                    ["grad", "trajectory.final"].map(|part| of.tensor(&format!("{part}.{name}")));
                assert!(grad.shape() == shape && last.shape() == shape, "{name}");
            }
        }
    }

    #[test]
    fn every_difference_is_found() {
        for of in own() {
            let exact = stored(&of);
            assert_eq!(of.compare(&exact), [""; 0], "{}", of.name());
            assert!(of.passed_over(&exact).is_empty());
            let found = |part: &str, change: &dyn Fn(&mut Outputs)| {
                let mut outputs = exact.clone();
                change(&mut outputs);
                let found = of.compare(&outputs);
                assert!(found.len() == 1 && found[0].contains(part), "{part}: {found:?}");
            };
            // Some gradients are zero at first, such as that of a factor in front of a factor of zeros: scaled, they are the
            // same.
            let moves =
                |name: &&String| of.tensor(&format!("grad.{name}")).as_slice().iter().any(|&v| v != 0.0);
            let first = of.trained.iter().find(moves).expect("a gradient that is not zero").as_str();
            let scaled = |values: &mut Vec<f32>, by: f32| values.iter_mut().for_each(|v| *v *= by);
            found("output.logits", &|o| scaled(&mut o.logits, 1.0002));
            found("output.hidden", &|o| o.hidden[3] = f32::NAN);
            found("output.hidden", &|o| o.hidden.truncate(7));
            found("output.loss", &|o| o.loss *= 1.0002);
            found(first, &|o| scaled(o.grads.get_mut(first).unwrap(), 0.998));
            found(first, &|o| o.grads.get_mut(first).unwrap()[0] = f32::NAN);
            found("was not computed", &|o| drop(o.grads.remove(first)));
            found("is not in the file", &|o| drop(o.grads.insert("unknown".into(), vec![0.0])));
            found("loss before step 4", &|o| o.losses[3] *= 1.002);
            found("4 losses", &|o| o.losses.truncate(4));
            found(first, &|o| scaled(o.finals.get_mut(first).unwrap(), 1.002));
            found("was not computed", &|o| drop(o.finals.remove(first)));
            found("output.unknown", &|o| drop(o.others.insert("unknown".into(), vec![])));
        }
    }

    #[test]
    fn gates_are_compared_where_they_are_known() {
        let of = own().into_iter().find(|of| !of.stored("gates.").is_empty()).expect("a file with gates");
        let mut outputs = stored(&of);
        outputs.gates.as_mut().unwrap().get_mut("forget").unwrap()[0] += 1.0;
        assert!(of.compare(&outputs)[0].starts_with("gates.forget: "));
        outputs.gates = None;
        assert!(of.compare(&outputs).is_empty() && of.passed_over(&outputs).len() == 4);
    }

    /// A gradient that must be zero, such as that of a factor in front of a factor of zeros, must be exactly zero.
    #[test]
    fn a_gradient_that_is_exactly_zero_must_be() {
        let mut of = own().remove(0);
        let mut exact = stored(&of);
        let name = of.trained[0].clone();
        let shape = of.params()[name.as_str()].shape().to_vec();
        let zeros = vec![0.0; shape.iter().product()];
        of.golden.tensors.insert(format!("grad.{name}"), Tensor::from_vec(zeros.clone(), &shape));
        exact.grads.insert(name.clone(), zeros);
        assert!(of.compare(&exact).is_empty());
        exact.grads.get_mut(&name).unwrap()[1] = 1e-20;
        assert!(of.compare(&exact)[0].contains("where it is exactly zero"));
    }
}
