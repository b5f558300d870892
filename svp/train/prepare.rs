//! Model and data of a config, loaded before anything is written.

use std::path::Path;
use std::sync::Arc;

use engine::Device;

use super::config::TrainConfig;
use super::feed::Feed;
use super::init::{Source, told_by};
use super::setup;
use super::trained::Trained;
use crate::backbones::Loaded;
use crate::data::{Dataset, LoaderOptions, Sample, Seen};
use crate::mapping::assign;
use crate::methods::{Chosen, Settings, linear};
use crate::model::{Model, Parts};
use crate::survey::{Found, Survey, Surveyor};
use crate::{Error, Result};

/// Model and data of a config.
pub struct Prepared {
    /// The backbone with method and head.
    pub model: Model,
    /// The description that its trained file will carry.
    pub trained: Trained,
    /// The data set.
    pub data: Dataset,
    /// The files that the backbone was read from.
    pub backbone_files: Vec<Seen>,
    /// Facts for the log, one line each.
    pub notes: Vec<String>,
}

/// Loads the backbone and opens the data. A run that begins makes the method's survey, or takes what another run has
/// trained; one that goes on has `settings`, those of its trained file.
///
/// [`Error::Interrupted`](crate::Error::Interrupted) once `stop` returns true during a survey; settings that cannot
/// work or do not fit the backbone, the data or the device; files that cannot be read.
pub fn prepare(
    config: &TrainConfig,
    device: &Device,
    settings: Option<&Settings>,
    stop: &dyn Fn() -> bool,
) -> Result<Prepared> {
    config.check()?;
    config.precision.check(device)?;
    let mut loaded = setup::backbone(config)?;
    let data = setup::dataset(config)?;
    setup::check_data(config, &data)?;
    let backbone_files = std::mem::take(&mut loaded.files);
    let mut notes = std::mem::take(&mut loaded.notes);
    notes.extend(data.notes.iter().cloned());
    let images = (&data.train[..], &data.classes[..]);
    let source = config.init_from.as_deref().filter(|_| settings.is_none());
    let source = source.map(|run| Source::open(run, config, &loaded.hash)).transpose()?;
    let known = settings.or(source.as_ref().map(Source::settings));
    let (mut model, trained, found) = assemble(config, device, loaded, images, known, stop)?;
    notes.extend(found);
    if let Some(source) = source {
        notes.push(source.give(device, &mut model.params, &trained)?);
        if !source.has_head(&trained) {
            count_logits(config, &mut model, &data.train, stop)?;
        }
    }
    Ok(Prepared { model, trained, data, backbone_files, notes })
}

/// Builds the model on a loaded backbone for training images and the names of their classes, and makes the survey unless
/// its `settings` are known. Returns, beside the description of the trained file, what the survey noted.
///
/// Those of [`prepare`].
pub(crate) fn assemble(
    config: &TrainConfig,
    device: &Device,
    mut loaded: Loaded,
    (images, classes): (&[Sample], &[String]),
    settings: Option<&Settings>,
    stop: &dyn Fn() -> bool,
) -> Result<(Model, Trained, Vec<String>)> {
    let mut found = Found::default();
    let mut config = config.clone();
    if let Some(surveyor) = &config.method.entry.survey {
        match settings {
            Some(settings) => surveyor.fills.iter().for_each(|name| {
                config.method.settings.set(name, settings.get(name));
            }),
            None => (loaded, found) = look(surveyor, &config, device, loaded, (images, classes), stop)?,
        }
    }
    found.settings.into_iter().for_each(|(name, value)| config.method.settings.set(name, value));
    let (mut model, trained) = setup::model(&config, device, loaded, classes)?;
    if settings.is_none() {
        count_logits(&config, &mut model, images, stop)?;
    }
    for (name, value) in found.values {
        let id = model.params.id(&name).expect("a parameter of the method");
        model.params.set(id, value.to_device(device)?);
    }
    Ok((model, trained, found.notes))
}

/// Counts the logits of the backbone's own head out to the classes, where the method wants it.
fn count_logits(
    config: &TrainConfig,
    model: &mut Model,
    images: &[Sample],
    stop: &dyn Fn() -> bool,
) -> Result<()> {
    if model.method.counted().is_none() {
        return Ok(());
    }
    let options = LoaderOptions::eval(config.batch_size, config.workers);
    let feed = Feed::images(&Arc::new(images.to_vec()), model.transform(), options)?;
    match assign(model, &feed, stop)? {
        true => Ok(()),
        false => Err(Error::Interrupted { step: 0, hint: "run it again".into() }),
    }
}

/// Makes a survey with the backbone, which is given back as it was.
fn look(
    surveyor: &Surveyor,
    config: &TrainConfig,
    device: &Device,
    loaded: Loaded,
    (images, classes): (&[Sample], &[String]),
    stop: &dyn Fn() -> bool,
) -> Result<(Loaded, Found)> {
    let Loaded { backbone, params, head, hash, files, notes } = loaded;
    let parts = Parts { simam: config.simam, ..Parts::new(Chosen::named(linear::ENTRY.name)?, 1) };
    let model = Model::new(device, backbone, params.clone(), parts, config.seed)?;
    let model = model.in_precision(config.precision.dtype())?;
    let told = |run: &Path| told_by(run, config, &model, &hash, classes);
    let trained = config.prune_from.as_deref().map(told).transpose()?;
    let survey = Survey {
        model: &model,
        trained: trained.as_ref(),
        seed: config.seed,
        samples: images,
        transform: setup::train_transform(config, &model),
        batch: config.batch_size,
        workers: config.workers,
        stop,
    };
    let found = (surveyor.look)(&config.method.settings, &survey)?;
    Ok((Loaded { backbone: model.backbone, params, head, hash, files, notes }, found))
}
