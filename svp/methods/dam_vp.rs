//! Diversity-aware visual prompting (DAM-VP, Huang et al., CVPR 2023): a trained frame of pixels for each cluster of
//! images.
//!
//! Before training, some images are clustered by their features in the frozen backbone (see [`crate::cluster`]). An image
//! then gets the frame of the cluster whose mean feature, its prototype, is nearest to the image's own feature. The
//! features are those of the image without a frame, so each image goes through the backbone twice; no gradient passes
//! through the choice (`docs/methods.md`, "DAM-VP").

use autograd::Var;
use engine::{Rng, Tensor};
use ptx::frame::frame;

use super::entry::{Defaults, Entry, Site};
use super::settings::{AUTO, Kind, Setting, Settings, Value};
use super::vp::{PAD, Sides, add_frame, width};
use crate::backbones::{vim, vit};
use crate::cluster::{Tree, means};
use crate::data::streams::ORDER;
use crate::params::ParamId;
use crate::pass::{Method, Pass};
use crate::survey::{Found, Survey, Surveyor};
use crate::{Error, Result};

/// The method's entry in the registry.
pub static ENTRY: Entry = Entry {
    name: "dam-vp",
    title: "DAM-VP",
    about: "A frame of pixels for each cluster of images, on a frozen backbone",
    trains: "a frame of pixels for each cluster of images, and the head",
    source: "DAM-VP, CVPR 2023",
    backbones: &[vim::NAME, vit::NAME],
    settings: &[
        PAD,
        Setting {
            published: Some(PROTOTYPES),
            ..Setting::new(
                FRAMES,
                Kind::Auto(&Kind::Count(1, MOST)),
                Value::Choice(AUTO),
                "Number of frames; auto leaves it to the threshold",
            )
        },
        Setting::new(
            THRESHOLD,
            Kind::Auto(&Kind::Number(0.0, 1e6)),
            Value::Choice(AUTO),
            "Mean distance below which clusters are merged, without --frames; auto leaves 10 to 40 clusters",
        ),
        Setting::new(
            CLUSTERED,
            Kind::Count(1, 5000),
            Value::Count(1000),
            "Training images that are clustered, at most as many as there are",
        ),
    ],
    // As for a single frame; the published rates, one for each data set, are for another optimiser and other backbones.
    defaults: |spec, _| Defaults::adamw(5e-3, 1e-4).narrow(spec, 0.1),
    views: &[("frozen", false), ("framed", true)],
    survey: Some(Surveyor { fills: &[FRAMES, THRESHOLD], reads_run: false, look }),
    ..Entry::plain(build)
};

const FRAMES: &str = "frames";
const THRESHOLD: &str = "threshold";
const CLUSTERED: &str = "clustered-images";
/// Name of the prototypes, and of the part of a model that they are.
const PROTOTYPES: &str = "prototypes";

/// The most frames: more than any publication has, and few enough for every device.
const MOST: usize = 1000;

/// Clusters images of the training set, the first of a shuffled epoch.
fn look(settings: &Settings, survey: &Survey) -> Result<Found> {
    let mut order: Vec<u32> = (0..survey.images() as u32).collect();
    Rng::keyed(survey.seed, 0, 0, ORDER).shuffle(&mut order);
    let some: Vec<usize> = order.iter().take(settings.count(CLUSTERED)).map(|&i| i as usize).collect();
    let mut features = vec![];
    survey.each_batch(&some, &mut |images| {
        features.extend_from_slice(&survey.model.features(images)?.values()?);
        Ok(())
    })?;
    if features.iter().any(|value| !value.is_finite()) {
        let what = "the backbone's features of the training images are not finite";
        return Err(Error::input("--method dam-vp", what, "check the checkpoint"));
    }
    let d = survey.model.spec().width;
    let tree = Tree::average(&features, d);
    let (frames, threshold) = number(settings, &tree)?;
    let prototypes = Tensor::from_vec(means(&features, d, &tree.cut(frames)), &[frames, d]);
    let above = threshold.map_or(String::new(), |threshold| format!(" at the threshold {threshold:.4}"));
    let mut found = vec![(FRAMES, Value::Count(frames))];
    found.extend(threshold.map(|threshold| (THRESHOLD, Value::Number(threshold))));
    Ok(Found {
        settings: found,
        values: vec![(PROTOTYPES.into(), prototypes)],
        notes: vec![format!("{} training images make {frames} clusters{above}", some.len())],
    })
}

/// The number of clusters, and the threshold that makes them where it was not the number that was given.
fn number(settings: &Settings, tree: &Tree) -> Result<(usize, Option<f64>)> {
    let different = tree.different();
    match (settings.get(FRAMES), settings.get(THRESHOLD)) {
        (Value::Count(frames), _) if frames > different => {
            let what = format!("{frames} clusters of images of which {different} are different");
            Err(Error::input("--frames", what, format!("use at most {different}")))
        }
        (Value::Count(frames), _) => Ok((frames, None)),
        (_, Value::Number(threshold)) => match tree.clusters_at(threshold) {
            frames if frames > MOST => {
                let what = format!("{threshold} leaves {frames} clusters, more than {MOST}");
                Err(Error::input("--threshold", what, "use a larger one, or auto"))
            }
            frames => Ok((frames, Some(threshold))),
        },
        _ => {
            let (frames, threshold) = tree.standing_out(10..=40);
            Ok((frames, Some(threshold)))
        }
    }
}

struct DamVp {
    frames: Vec<Sides>,
    prototypes: ParamId,
}

/// Adds the frames, and prototypes whose values the survey or a trained file gives.
fn build(settings: &Settings, site: &mut Site) -> Result<Box<dyn Method>> {
    let w = width(settings, site.spec)?;
    // Before a survey has found the number, one frame stands for them.
    let frames = if let Value::Count(frames) = settings.get(FRAMES) { frames } else { 1 };
    site.params.room(PROTOTYPES, &[frames, site.spec.width])?;
    let prototypes = Tensor::zeros(site.device, &[frames, site.spec.width]);
    let prototypes = site.params.add_found(PROTOTYPES, PROTOTYPES, prototypes);
    let frame = |m| add_frame(site, w, &format!("prompter.{m}."), m);
    Ok(Box::new(DamVp { frames: (0..frames).map(frame).collect::<Result<_>>()?, prototypes }))
}

impl Method for DamVp {
    fn prototypes(&self) -> Option<ParamId> {
        Some(self.prototypes)
    }

    fn pixels(&self, pass: &mut Pass, images: Var) -> Result<Var> {
        let params = pass.params;
        let frames: Vec<_> = self.frames.iter().map(|sides| sides.map(|side| &params[side])).collect();
        Ok(frame(pass.tape, &images, &frames, pass.assignment.as_ref())?)
    }
}

#[cfg(test)]
mod tests {
    use autograd::Tape;
    use engine::Device;

    use super::*;
    use crate::backbones::vim::{Vim, VimConfig};
    use crate::backbones::vit::{Vit, VitConfig};
    use crate::data::{Dataset, Transform};
    use crate::heads::Labels;
    use crate::methods::{Chosen, linear};
    use crate::model::{Model, Parts};
    use crate::params::Params;
    use crate::pass::Noise;

    fn vim(chosen: Chosen) -> Model {
        let mut params = Params::default();
        let vim = Vim::init(VimConfig::sized(32, 8, 16, 2), &mut params, 5).unwrap();
        Model::new(&Device::cpu(), Box::new(vim), params, Parts::new(chosen, 3), 5).unwrap()
    }

    fn chosen(flags: &[(&str, &str)]) -> Chosen {
        let with = |chosen: Chosen, flag: &(&str, &str)| chosen.with_flag(flag.0, flag.1).unwrap();
        flags.iter().fold(Chosen::named(ENTRY.name).unwrap(), with)
    }

    /// Surveys the first drawn pictures of a task, which are all different.
    fn surveyed(images: usize, chosen: &Chosen) -> Result<Found> {
        let model = vim(Chosen::named(linear::ENTRY.name).unwrap());
        let transform = Transform::eval(32, model.spec().normalisation);
        let samples = &Dataset::builtin("orientation").unwrap().train[..images];
        let survey = Survey {
            model: &model,
            trained: None,
            seed: 3,
            samples,
            transform,
            batch: 8,
            workers: 2,
            stop: &|| false,
        };
        look(&chosen.settings, &survey)
    }

    #[test]
    fn a_survey_finds_the_frames() {
        let auto = surveyed(60, &chosen(&[])).unwrap();
        let [(FRAMES, Value::Count(frames)), (THRESHOLD, Value::Number(threshold))] = auto.settings[..]
        else {
            panic!("{:?}", auto.settings)
        };
        assert!((10..=40).contains(&frames) && threshold > 0.0);
        assert_eq!(auto.values[0].1.shape(), [frames, 16]);
        // The threshold that was found, given, finds the same, and so does the number of frames.
        for flag in [("threshold", threshold.to_string()), ("frames", frames.to_string())] {
            let same = surveyed(60, &chosen(&[(flag.0, &flag.1)])).unwrap();
            assert_eq!(same.settings[0], (FRAMES, Value::Count(frames)), "{flag:?}");
            assert_eq!(same.values[0].1.as_slice(), auto.values[0].1.as_slice());
        }
        let few = surveyed(4, &chosen(&[])).unwrap();
        assert_eq!(few.settings[0].1, Value::Count(4), "as many as there are images");
        let some = surveyed(60, &chosen(&[("clustered-images", "5")])).unwrap();
        assert!(some.notes[0].starts_with("5 training images make 5 clusters"), "{:?}", some.notes);
    }

    #[test]
    fn what_cannot_be_clustered_is_named() {
        let error = |flag| surveyed(4, &chosen(&[flag])).err().unwrap().to_string();
        let frames = error(("frames", "5"));
        assert_eq!(frames, "--frames: 5 clusters of images of which 4 are different; use at most 4");
        for (flag, text, part) in [
            ("frames", "0", "use auto, or a whole number from 1 to 1000"),
            ("threshold", "-1", "use auto, or a number from 0"),
        ] {
            let error = Chosen::named(ENTRY.name).unwrap().with_flag(flag, text).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    /// On a ViT the gradient of a frame is that of `vp`, which golden files hold, on the images that have it.
    #[test]
    fn frames_of_a_vit_have_the_gradients_of_vp() {
        let model = |chosen: Chosen| {
            let mut params = Params::default();
            let config = VitConfig { heads: 2, ..VitConfig::sized(24, 8, 16, 2) };
            let vit = Vit::init(config, &mut params, 5).unwrap();
            Model::new(&Device::cpu(), Box::new(vit), params, Parts::new(chosen, 3), 5).unwrap()
        };
        let mut damvp = model(chosen(&[("frames", "2"), ("pad", "3")]));
        let mut rng = Rng::keyed(1, 0, 0, 0);
        let mut images = |n: usize| {
            let values = (0..n * 3 * 24 * 24).map(|_| rng.normal() as f32).collect();
            Tensor::from_vec(values, &[n, 3, 24, 24])
        };
        let all = images(4);
        let frozen = model(Chosen::named(linear::ENTRY.name).unwrap());
        let features = frozen.features(all.clone()).unwrap().to_host().unwrap();
        // The prototypes are the features of images 1 and 2, and two more images have one each.
        let prototypes = damvp.params.id(PROTOTYPES).unwrap();
        damvp.params.set(prototypes, Tensor::from_vec(features[16..48].to_vec(), &[2, 16]));
        let frame_of = damvp.assignment(all.clone()).unwrap().unwrap().to_host().unwrap();
        assert_eq!(frame_of[1..3], [0.0, 1.0]);
        let labels = [0, 1, 2, 1];
        let gradients = |model: &Model, of: &[usize]| {
            let images: Vec<f32> =
                of.iter().flat_map(|i| all.as_slice()[i * 3 * 24 * 24..][..3 * 24 * 24].to_vec()).collect();
            let classes = Labels::Classes(of.iter().map(|&i| labels[i]).collect());
            let targets = model.head.targets(&classes, 3, 0.0, 1.0).unwrap();
            let tape = Tape::new(&model.device);
            let images = Tensor::from_vec(images, &[of.len(), 3, 24, 24]);
            let forward = model.forward(&tape, images, Noise::default()).unwrap();
            let targets = Tensor::from_vec(targets, &[of.len(), 3]);
            let loss = model.head.loss(&tape, &forward.logits, &targets).unwrap();
            // The sum over the images.
            let grads = tape.backward(&loss, Tensor::from_vec(vec![of.len() as f32], &[1])).unwrap();
            let named = model.params.trained().into_iter().map(|id| {
                (model.params.name(id).to_string(), grads.get(&forward.bound[id]).unwrap().to_host().unwrap())
            });
            named.collect::<std::collections::BTreeMap<_, _>>()
        };
        let got = gradients(&damvp, &[0, 1, 2, 3]);
        for frame in 0..2 {
            let mut vp =
                model(Chosen::named(super::super::vp::ENTRY.name).unwrap().with_flag("pad", "3").unwrap());
            for side in ["pad_up", "pad_down", "pad_left", "pad_right"] {
                let [from, to] = [&damvp, &vp].map(|of| {
                    let own = format!("prompter.{frame}.{side}");
                    of.params.id(&own).or(of.params.id(side)).unwrap()
                });
                vp.params.set(to, damvp.params.get(from).clone());
            }
            let of: Vec<usize> = (0..4).filter(|&i| frame_of[i] == frame as f32).collect();
            let want = gradients(&vp, &of);
            for side in ["pad_up", "pad_down", "pad_left", "pad_right"] {
                let (got, want) = (&got[&format!("prompter.{frame}.{side}")], &want[side]);
                let largest = want.iter().fold(0.0, |most: f32, value| most.max(value.abs()));
                let far = got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(
                    largest > 0.0 && far <= 1e-5 * largest,
                    "{side} of frame {frame}: {far:e} of {largest:e}"
                );
            }
        }
    }

    /// An image whose feature is a prototype gets that prototype's frame, and only that one is added to it.
    #[test]
    fn images_get_the_frame_of_their_cluster() {
        let mut model = vim(chosen(&[("frames", "3"), ("pad", "2")]));
        let mut rng = Rng::keyed(1, 0, 0, 0);
        let images =
            Tensor::from_vec((0..3 * 3 * 32 * 32).map(|_| rng.normal() as f32).collect(), &[3, 3, 32, 32]);
        let frozen = vim(Chosen::named(linear::ENTRY.name).unwrap());
        let features = frozen.features(images.clone()).unwrap();
        // The prototypes are the features of images 2, 0, 1.
        let rows: Vec<f32> =
            [2, 0, 1].iter().flat_map(|i| &features.as_slice()[i * 16..][..16]).copied().collect();
        let prototypes = model.params.id(PROTOTYPES).unwrap();
        model.params.set(prototypes, Tensor::from_vec(rows, &[3, 16]));
        assert_eq!(model.assignment(images.clone()).unwrap().unwrap().as_slice(), [1.0, 2.0, 0.0]);
        let before = model.logits(images.clone()).unwrap().to_host().unwrap();
        let up = model.params.id("prompter.2.pad_up").unwrap();
        model.params.set(up, Tensor::zeros(&Device::cpu(), &[1, 3, 2, 32]));
        let after = model.logits(images).unwrap().to_host().unwrap();
        let moved: Vec<bool> = before.chunks(3).zip(after.chunks(3)).map(|(a, b)| a != b).collect();
        assert_eq!(moved, [false, true, false], "frame 2 is that of image 1");
    }
}
