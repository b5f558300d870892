//! A trained model, rebuilt from its backbone and its trained file.

use std::path::{Path, PathBuf};

use engine::simd::bf16_products;
use engine::{Device, budget};

use super::config::{Precision, TrainConfig};
use super::config_file::read_config;
use super::setup::{open_backbone, weights_in};
use super::state::TrainedFile;
use super::trained::Trained;
use crate::backbones::{LoadOptions, Loaded, load};
use crate::checkpoint::Checkpoint;
use crate::model::{Model, Parts};
use crate::pass::Spec;
use crate::{Error, Result};

/// A model that is ready to predict.
pub struct TrainedModel {
    /// The backbone with method, head and trained values.
    pub model: Model,
    /// The description in the trained file.
    pub trained: Trained,
    /// The run's config, where it lies beside the trained file.
    pub config: Option<TrainConfig>,
}

/// Loads the trained parameters of a run and puts them on its backbone.
///
/// `run` is a run folder, of which `best.safetensors` is taken, or a trained file. The backbone is that at `backbone`,
/// else that named by the `config.toml` beside the file, else the built-in one. A method that trains the whole backbone
/// has it in the trained file itself.
///
/// A missing or damaged file, or a backbone other than the one the file was trained on.
pub fn load_trained(run: &Path, backbone: Option<&Path>, device: &Device) -> Result<TrainedModel> {
    let path = trained_file(run)?;
    let config_path = path.with_file_name("config.toml");
    let file = TrainedFile::open(&path)?;
    let config = config_path.exists().then(|| read_config(&config_path)).transpose()?;
    let trained = &file.trained;
    let options = LoadOptions {
        img_size: Some(trained.img_size),
        stride: Some(trained.stride),
        class_row: trained.class_row,
        interpolation: trained.interpolation,
        allow_mismatch: config.as_ref().is_some_and(|config| config.allow_mismatch),
        seed: config.as_ref().map_or(0, |config| config.seed),
        ..LoadOptions::default()
    };
    let Loaded { backbone, mut params, head, .. } = if trained.method.entry.whole_backbone {
        load(&Checkpoint::open(&path)?, options)?
    } else {
        if let (None, Some(config)) = (backbone, &config) {
            config.check_backbone_place()?;
        }
        let weights = config.as_ref().and_then(|config| config.weights);
        let checkpoint = match (backbone, &config) {
            (Some(moved), _) => open_backbone(Some(moved), weights_in(moved, weights))?,
            (None, Some(config)) => open_backbone(config.backbone.as_deref(), weights)?,
            (None, None) => open_backbone(None, None)?,
        };
        own_backbone(&path, &checkpoint, trained, options)?
    };
    check_room(&path, backbone.spec())?;
    params.expect(&path, file.shapes());
    let parts = Parts {
        method: trained.method.clone(),
        head: trained.head,
        classes: trained.classes.len(),
        simam: trained.simam,
        source_head: head,
    };
    let mut model = Model::new(device, backbone, params, parts, 0)?;
    file.restore(device, &mut model.params)?;
    // Predict in the precision of training where the device has it; a CPU without products of bf16 is faster in f32.
    let precision = config.as_ref().map_or(Precision::F32, |config| config.precision);
    if precision.check(device).is_ok() && (device.launcher().is_some() || bf16_products()) {
        model = model.in_precision(precision.dtype())?;
    }
    Ok(TrainedModel { model, trained: file.trained, config })
}

/// Refuses a size of images, which no tensor of the file tells, at which one image needs more memory than there is.
fn check_room(path: &Path, spec: &Spec) -> Result<()> {
    // Of a block alone: what goes into the convolutions, the scans and the step sizes of both directions, and comes out.
    let row = 7 * spec.scan_width.unwrap_or(spec.width) + 3 * spec.width;
    let room = budget::claim((spec.tokens() as u64).saturating_mul(4 * row as u64));
    room.map(drop).map_err(|refused| {
        let what = format!("is for images of {} pixels: one {refused}", spec.img_size);
        Error::path(path, what, "the file belongs to another backbone or setting, or raise it")
    })
}

/// The trained file of a run folder; of a file, itself.
///
/// A folder without one.
pub(super) fn trained_file(run: &Path) -> Result<PathBuf> {
    let path = if run.is_dir() { run.join("best.safetensors") } else { run.to_path_buf() };
    if run.is_dir() && !path.exists() {
        let what = "holds no trained model (no best.safetensors)";
        return Err(Error::path(run, what, "give the folder of a run that has finished an epoch"));
    }
    Ok(path)
}

/// Loads the backbone that `trained` belongs to, and refuses any other.
fn own_backbone(
    file: &Path,
    checkpoint: &Checkpoint,
    trained: &Trained,
    options: LoadOptions,
) -> Result<Loaded> {
    let loaded = load(&checkpoint.clone().redescribed(trained.facts.clone()), options)?;
    if loaded.hash == trained.backbone_hash {
        return Ok(loaded);
    }
    let what = format!(
        "is not the backbone that {} was trained on (hash {:.12}, wanted {:.12})",
        file.display(),
        loaded.hash,
        trained.backbone_hash
    );
    Err(Error::path(checkpoint.path(), what, "give that one with --backbone"))
}
