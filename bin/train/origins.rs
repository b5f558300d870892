//! Where the settings of a run come from, and the line that says so.

use std::path::{Path, PathBuf};

use svp::Result;
use svp::backbones::title;
use svp::methods::METHODS;
use svp::train::{Preset, Rate, TrainConfig, backbone_spec};

use svp_cli::options::Options;

/// The origin of what nobody gives.
const DEFAULT: &str = "default";

/// Who gives the settings of a run, the first of whom wins.
#[derive(Default)]
pub struct Origins {
    flags: Vec<String>,
    file: Option<(PathBuf, Vec<String>)>,
    preset: Option<Preset>,
    /// The word for a setting that none of them gives.
    otherwise: &'static str,
    /// Settings that the program fitted to data or memory.
    fitted: Vec<&'static str>,
}

impl Origins {
    /// Reads off who gives what, before the settings are joined.
    pub fn new(flags: &Options, file: Option<(&Path, &Options)>) -> Self {
        let names = |options: &Options| options.given().into_iter().map(String::from).collect();
        Origins {
            flags: names(flags),
            file: file.map(|(path, options)| (path.into(), names(options))),
            otherwise: DEFAULT,
            ..Origins::default()
        }
    }

    /// Everything comes from one place.
    pub fn all(place: &'static str) -> Self {
        Origins { otherwise: place, ..Origins::default() }
    }

    /// Names of the settings that are flags of the command line.
    pub fn flags(&self) -> &[String] {
        &self.flags
    }

    /// Adds the preset that the joined settings name.
    pub fn with_preset(self, name: Option<&str>) -> Result<Self> {
        Ok(Origins { preset: name.map(Preset::named).transpose()?, ..self })
    }

    /// Notes that the program fitted a setting that nobody gave, or that was given as auto.
    pub fn fitted(&mut self, setting: &'static str) {
        self.fitted.push(setting);
    }

    /// Where a setting comes from, by the name of its field.
    fn of(&self, setting: &str) -> String {
        let gives = |names: &[String]| names.iter().any(|name| name == setting);
        let key = setting.replace('_', "-");
        match (&self.file, &self.preset) {
            _ if self.fitted.contains(&setting) => "fitted".into(),
            _ if gives(&self.flags) => format!("--{key}"),
            (Some((path, names)), _) if gives(names) => path.display().to_string(),
            (_, Some(preset)) if preset.settings.contains_key(&key) => format!("preset {}", preset.name),
            _ => self.otherwise.into(),
        }
    }

    /// One line: backbone with its size, method, batch, rate and epochs, and where each comes from.
    ///
    /// # Errors
    /// A checkpoint that cannot be read.
    pub fn line(&self, config: &TrainConfig) -> Result<String> {
        let &TrainConfig { img_size, stride, .. } = config;
        let model = config.model.as_deref();
        let spec = backbone_spec(config.backbone.as_deref(), config.weights, model, &config.sizes())?;
        let backbone = match (&config.model, &config.backbone) {
            (Some(name), _) => format!("{name} from scratch ({})", self.of("model")),
            (None, Some(path)) => format!("{} ({})", path.display(), self.of("backbone")),
            (None, None) => format!("built-in ({})", self.of("backbone")),
        };
        let rate = match config.lr {
            Rate::Auto => format!("to be found ({})", self.of("lr")),
            Rate::At(lr) if config.lr_scaling => {
                let scaled = lr * config.lr_scale();
                format!("{lr} at 512 images, {scaled:.2e} at this batch ({})", self.of("lr"))
            }
            Rate::At(lr) => format!("{lr} ({})", self.of("lr")),
        };
        let steps = match config.accumulate {
            1 => String::new(),
            times => format!(" x {times}"),
        };
        // Where they are not given, size and stride come with the backbone.
        let by = |setting: &str, given: Option<usize>| {
            given.map_or(String::new(), |_| format!(" ({})", self.of(setting)))
        };
        let method = match self.of("method") {
            origin if origin == DEFAULT && config.method.entry.name != METHODS[0].name => {
                format!("{origin} for a {}", title(&spec))
            }
            origin => origin,
        };
        Ok(format!(
            "backbone: {backbone}, {} of {spec}{}, stride {}{}; method: {} ({}); batch: {}{steps} ({}); rate: {rate}; \
             epochs: {} ({})",
            title(&spec),
            by("img_size", img_size),
            spec.stride,
            by("stride", stride),
            config.method.entry.name,
            method,
            config.batch_size,
            self.of("batch_size"),
            config.epochs,
            self.of("epochs"),
        ))
    }
}
