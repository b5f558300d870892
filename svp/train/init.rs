//! Initial values from the trained tensors of another run.

use std::path::{Path, PathBuf};

use engine::Device;

use super::config::TrainConfig;
use super::state::TrainedFile;
use super::trained::Trained;
use super::trained_model::{TrainedModel, load_trained, trained_file};
use crate::methods::{Chosen, Settings};
use crate::model::Model;
use crate::params::{HEAD, Params};
use crate::{Error, Result};

/// The run whose trained tensors a new one begins with.
pub(super) struct Source {
    file: TrainedFile,
    /// The folder or file that was given.
    place: PathBuf,
}

impl Source {
    /// Opens a run folder or a trained file for a run of `config` on a backbone of this hash.
    ///
    /// # Errors
    /// A run that has trained nothing yet, another method or backbone, or settings that the tensors do not fit.
    pub fn open(place: &Path, config: &TrainConfig, hash: &str) -> Result<Self> {
        let wrong = |what: String, hint: String| Err(Error::path(place, what, hint));
        let file = TrainedFile::open(&trained_file(place)?)?;
        let (theirs, ours) = (&file.trained.method, &config.method);
        if theirs.entry.name != ours.entry.name {
            let (theirs, ours) = (theirs.entry.name, ours.entry.name);
            let what = format!("is a run of {theirs}, whose tensors are no initial values for {ours}");
            return wrong(what, format!("give a run of {ours}, or --method {theirs}"));
        }
        // A method that trains the whole backbone brings it along.
        if !ours.entry.whole_backbone && file.trained.backbone_hash != hash {
            let theirs = &file.trained.backbone_hash;
            let what = format!("was trained on another backbone (hash {theirs:.12}, here {hash:.12})");
            return wrong(what, "give that one with --backbone".into());
        }
        let found = ours.entry.survey.as_ref().map_or(&[][..], |surveyor| surveyor.fills);
        let open = Chosen::named(ours.entry.name)?.settings;
        for name in found {
            let [asked, has] = [&ours.settings, &theirs.settings].map(|settings| settings.get(name));
            if asked != open.get(name) && asked != has {
                let what = format!("has another --{name} than this run");
                return wrong(what, format!("leave --{name} out to take that of the run"));
            }
        }
        Ok(Source { file, place: place.into() })
    }

    /// The settings of the run's method, with what its survey had found.
    pub fn settings(&self) -> &Settings {
        &self.file.trained.method.settings
    }

    /// Whether the head was trained for the same classes as that of `trained`.
    pub fn has_head(&self, trained: &Trained) -> bool {
        let theirs = &self.file.trained;
        (theirs.head, &theirs.classes) == (trained.head, &trained.classes)
    }

    /// Puts the tensors into `params`; the head stays as it is where it is another one. Says so in a line.
    ///
    /// # Errors
    /// Tensors that are missing or of another shape, and a run of which nothing but the head could be taken.
    pub fn give(&self, device: &Device, params: &mut Params, trained: &Trained) -> Result<String> {
        let (place, epoch) = (self.place.display(), self.file.position.best.map_or(0, |best| best.epoch));
        let taken = format!("initial values: what {place} had trained after epoch {epoch}");
        if self.has_head(trained) {
            self.file.restore(device, params)?;
            return Ok(taken);
        }
        let why = if self.file.trained.classes == trained.classes {
            "it is of another kind"
        } else {
            "the classes are others"
        };
        if params.saved().into_iter().all(|id| params.part(id) == HEAD) {
            let what = format!("has trained only a head, which cannot be taken: {why}");
            return Err(Error::path(&self.place, what, "leave --init-from out"));
        }
        self.file.restore_parts(device, params, |part| part != HEAD)?;
        Ok(format!("{taken}; the head begins anew, because {why}"))
    }
}

/// The model of the run that tells a run of `config` what to leave out. `frozen` is the backbone of that hash, and `classes`
/// are those of the task.
///
/// # Errors
/// A run that has trained nothing yet, or one of another method, backbone or task.
pub(super) fn told_by(
    run: &Path,
    config: &TrainConfig,
    frozen: &Model,
    hash: &str,
    classes: &[String],
) -> Result<Model> {
    let wrong = |what: String, hint: &str| Err(Error::path(run, what, hint));
    let TrainedModel { model, trained, .. } = load_trained(run, config.backbone.as_deref(), &frozen.device)?;
    let (theirs, ours) = (trained.method.entry.name, config.method.entry.name);
    if theirs != ours {
        return wrong(
            format!("is a run of {theirs}, which tells nothing of {ours}"),
            "give one of the same method",
        );
    }
    if trained.backbone_hash != hash || model.spec() != frozen.spec() {
        return wrong(
            "was trained on another backbone".into(),
            "give that one with --backbone, and its --img-size",
        );
    }
    if trained.classes != classes {
        return wrong("was trained for other classes".into(), "give a run on the same data set");
    }
    Ok(model)
}
