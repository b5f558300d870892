//! What a trained file says about itself, which is enough to rebuild the model on its backbone.

use serde::de::Error as _;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::config::TrainConfig;
use crate::backbones::pos_embed::{ClassRow, Interpolation};
use crate::backbones::{Backbone, vim};
use crate::checkpoint::Metadata;
use crate::heads::HeadKind;
use crate::methods::Chosen;

/// The description of a trained model.
///
/// It is written as JSON. The method's settings stand under the method's name; methods without settings have the key
/// `svp` with null, as the first versions wrote it. A family other than Vim, and later settings, are written only where
/// they are used. So files of everything the first versions could train stay the same to the byte, and those versions
/// can read them.
#[derive(Debug, Clone, PartialEq)]
pub struct Trained {
    /// The method with its settings.
    pub method: Chosen,
    /// The head.
    pub head: HeadKind,
    /// Whether the input images are reweighted by SimAM.
    pub simam: bool,
    /// The backbone's family.
    pub family: String,
    /// Side of the input images, in pixels.
    pub img_size: usize,
    /// Pixels between patches.
    pub stride: usize,
    /// Which row of the position embedding was taken for the class token's when it was resized.
    pub class_row: ClassRow,
    /// How it was resized, where that was chosen.
    pub interpolation: Option<Interpolation>,
    /// What the backbone's tensors do not tell, as text by key (see [`Backbone::facts`]).
    pub facts: Metadata,
    /// Names of the classes, in the order of the logits.
    pub classes: Vec<String>,
    /// Hash of the backbone's weights (see [`crate::checkpoint::hash_tensors`]).
    pub backbone_hash: String,
}

impl Trained {
    /// The description of what a run with these settings trains.
    pub fn new(config: &TrainConfig, backbone: &dyn Backbone, classes: &[String], hash: &str) -> Self {
        let spec = backbone.spec();
        Trained {
            method: config.method.clone(),
            head: config.head,
            simam: config.simam,
            family: spec.family.into(),
            img_size: spec.img_size,
            stride: spec.stride,
            class_row: config.class_row,
            interpolation: config.pos_embed,
            facts: backbone.facts(),
            classes: classes.to_vec(),
            backbone_hash: hash.to_string(),
        }
    }
}

impl Serialize for Trained {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        let entry = self.method.entry;
        map.serialize_entry("method", entry.name)?;
        match entry.settings.is_empty() {
            true => map.serialize_entry("svp", &None::<()>)?,
            false => map.serialize_entry(entry.name, &self.method.settings)?,
        }
        map.serialize_entry("head", &self.head)?;
        map.serialize_entry("simam", &self.simam)?;
        if self.family != vim::NAME {
            map.serialize_entry("family", &self.family)?;
        }
        map.serialize_entry("img_size", &self.img_size)?;
        map.serialize_entry("stride", &self.stride)?;
        map.serialize_entry("class_row_first", &(self.class_row == ClassRow::First))?;
        if let Some(interpolation) = &self.interpolation {
            map.serialize_entry("pos_embed", interpolation)?;
        }
        if !self.facts.is_empty() {
            map.serialize_entry("backbone", &self.facts)?;
        }
        map.serialize_entry("classes", &self.classes)?;
        map.serialize_entry("backbone_hash", &self.backbone_hash)?;
        map.end()
    }
}

/// The keys of the file beside the method's settings.
#[derive(Deserialize)]
struct Rest {
    method: String,
    head: HeadKind,
    simam: bool,
    #[serde(default)]
    family: Option<String>,
    img_size: usize,
    stride: usize,
    class_row_first: bool,
    #[serde(default)]
    pos_embed: Option<Interpolation>,
    #[serde(default)]
    backbone: Metadata,
    classes: Vec<String>,
    backbone_hash: String,
}

impl<'de> Deserialize<'de> for Trained {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut map = Map::deserialize(from)?;
        let name = map.get("method").and_then(Value::as_str).unwrap_or_default().to_string();
        let settings = map.remove(&name);
        let rest: Rest = serde_json::from_value(Value::Object(map)).map_err(D::Error::custom)?;
        let mut method = Chosen::named(&rest.method).map_err(D::Error::custom)?;
        for (name, value) in settings.as_ref().and_then(Value::as_object).into_iter().flatten() {
            let value = toml::Value::try_from(value).map_err(D::Error::custom)?;
            method = method.with(name, &value).map_err(D::Error::custom)?;
        }
        Ok(Trained {
            method,
            head: rest.head,
            simam: rest.simam,
            family: rest.family.unwrap_or_else(|| vim::NAME.into()),
            img_size: rest.img_size,
            stride: rest.stride,
            class_row: if rest.class_row_first { ClassRow::First } else { ClassRow::Middle },
            interpolation: rest.pos_embed,
            facts: rest.backbone,
            classes: rest.classes,
            backbone_hash: rest.backbone_hash,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Descriptions must stay as the first versions wrote them, to the byte.
    #[test]
    fn descriptions_of_the_first_versions_are_read_and_written() {
        let svp = r#""svp":{"variant":"official","hidden":32,"group_size":4,"inner":true,"cross":false}"#;
        for (method, settings, settings_read) in
            [("svp", svp, true), ("linear", r#""svp":null"#, false), ("full", r#""svp":null"#, false)]
        {
            let text = format!(
                r#"{{"method":"{method}",{settings},"head":"two-layer","simam":false,"img_size":32,"stride":4,"class_row_first":true,"classes":["a","b"],"backbone_hash":"ff"}}"#
            );
            let trained: Trained = serde_json::from_str(&text).unwrap();
            assert_eq!(serde_json::to_string(&trained).unwrap(), text);
            assert_eq!((trained.family.as_str(), trained.class_row), ("vim", ClassRow::First));
            if settings_read {
                assert_eq!(trained.method.settings.count("group-size"), 4);
                assert!(!trained.method.settings.flag("cross"));
            }
        }
    }

    #[test]
    fn what_cannot_be_is_named() {
        let text = |method: &str, settings: &str| {
            format!(
                r#"{{"method":"{method}",{settings},"head":"linear","simam":false,"img_size":32,"stride":4,"class_row_first":false,"classes":[],"backbone_hash":""}}"#
            )
        };
        for (method, settings, part) in [
            ("magic", r#""svp":null"#, "magic"),
            ("svp", r#""svp":{"hidden":0}"#, "hidden"),
            ("svp", r#""svp":{"colour":1}"#, "colour"),
        ] {
            let error = serde_json::from_str::<Trained>(&text(method, settings)).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
