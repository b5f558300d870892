//! Scores: values that choose an epoch and that a run reports, each with the name of its measure.

use std::fmt;

/// A measure of a model on a split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Measure {
    /// Share of the images whose own class has the largest logit, 0 to 1.
    #[default]
    Top1,
}

impl Measure {
    /// All measures.
    pub const ALL: [Measure; 1] = [Measure::Top1];

    /// Name in files, such as `top1`.
    pub fn name(self) -> &'static str {
        match self {
            Measure::Top1 => "top1",
        }
    }
}

/// Writes the name for people, such as `top-1`.
impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Measure::Top1 => "top-1",
        })
    }
}

/// A value of a measure; larger is better.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// What was measured.
    pub measure: Measure,
    /// The value, in the unit of the measure.
    pub value: f64,
}

/// Declares a module for `#[serde(with)]` that stores an optional score as one key of the struct it is flattened into.
/// The key is a prefix and the measure's name.
macro_rules! keyed {
    ($(#[$doc:meta])* $module:ident, $prefix:literal) => {
        $(#[$doc])*
        pub mod $module {
            use std::collections::BTreeMap;

            use serde::de::IgnoredAny;
            use serde::ser::SerializeMap;
            use serde::{Deserialize, Deserializer, Serializer};

            use super::{Measure, Score};

            /// Writes the key of a score, or nothing for `None`.
            ///
            /// # Errors
            /// Those of the serializer.
            pub fn serialize<S: Serializer>(score: &Option<Score>, to: S) -> Result<S::Ok, S::Error> {
                let mut map = to.serialize_map(None)?;
                if let Some(Score { measure, value }) = score {
                    map.serialize_entry(&format!(concat!($prefix, "{}"), measure.name()), value)?;
                }
                map.end()
            }

            /// Reads the first key that names a score; `None` where there is none.
            ///
            /// # Errors
            /// Those of the deserializer.
            pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Score>, D::Error> {
                /// The value of a score's key, or anything under another key.
                #[derive(Deserialize)]
                #[serde(untagged)]
                enum Field {
                    Value(f64),
                    Other(IgnoredAny),
                }
                let mut fields = BTreeMap::<String, Field>::deserialize(from)?;
                let score = |measure: Measure| {
                    match fields.remove(&format!(concat!($prefix, "{}"), measure.name()))? {
                        Field::Value(value) => Some(Score { measure, value }),
                        Field::Other(_) => None,
                    }
                };
                Ok(Measure::ALL.into_iter().find_map(score))
            }
        }
    };
}

keyed! {
    /// Stores a score under the measure's name alone: `top1`.
    plain, ""
}
keyed! {
    /// Stores the score of the chosen epoch, on the split that chose it, as `selected_top1`.
    selected, "selected_"
}
keyed! {
    /// Stores the score of the last epoch, on the split that chooses, as `last_top1`.
    last, "last_"
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Report {
        epoch: u32,
        #[serde(flatten, with = "selected")]
        selected: Option<Score>,
        #[serde(flatten, with = "last")]
        last: Option<Score>,
        note: String,
    }

    #[test]
    fn a_score_is_written_under_the_name_of_its_measure() {
        let score = |value| Some(Score { measure: Measure::Top1, value });
        let report = Report { epoch: 3, selected: score(0.75), last: None, note: "x".into() };
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(text, r#"{"epoch":3,"selected_top1":0.75,"note":"x"}"#);
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
        let both = r#"{"epoch":3,"last_top1":0.5,"selected_top1":0.75,"note":"x"}"#;
        assert_eq!(serde_json::from_str::<Report>(both).unwrap(), Report { last: score(0.5), ..report });
    }
}
