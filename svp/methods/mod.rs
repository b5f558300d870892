//! The methods: one file each, and one line in the registry below.
//!
//! The rest of the program knows a method only through its entry and names none. Command-line flags, the keys of
//! presets, sweeps and configs, tables, pages and tests all come from the entries (`docs/adding-a-method.md`).

mod entry;
mod modules;
mod settings;

use serde::de::Error as _;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use toml::{Table, Value as Toml};

use crate::backbones::FAMILIES;
use crate::pass::{Method, Spec};
use crate::{Error, Result};

pub use entry::{Defaults, Entry, OptimizerKind, Site};
pub use settings::{AUTO, Kind, Setting, Settings, Value, Words};

/// Declares the modules of the methods and the registry. `cargo fmt` does not follow modules that a macro declares, so
/// their files are formatted with `rustfmt`.
macro_rules! methods {
    ($($name:ident,)*) => {
        $(pub mod $name;)*

        /// All methods, in the order of tables. The first one is that of the built-in backbone where none is named.
        pub static METHODS: &[&Entry] = &[$(&$name::ENTRY),*];
    };
}

methods! {
    svp,
    linear,
    full,
    vpt,
    ivpt,
    provp,
    express,
    gapt,
    bitfit,
    lora,
    ssf,
    adapter,
    adaptformer,
    fact,
    bi_adapter,
    sct,
    snf,
    vp,
    dam_vp,
    spt,
    autovp,
    e2vpt,
    sa2vp,
}

/// A method with its settings.
#[derive(Clone)]
pub struct Chosen {
    /// Its entry in the registry.
    pub entry: &'static Entry,
    /// The values of its settings.
    pub settings: Settings,
}

impl Chosen {
    /// The method of this name with its default settings.
    ///
    /// # Errors
    /// A name that is not in the registry.
    pub fn named(name: &str) -> Result<Self> {
        let known = METHODS.iter().find(|entry| entry.name == name);
        let entry = *known.ok_or_else(|| {
            let names: Vec<_> = METHODS.iter().map(|entry| entry.name).collect();
            let what = format!("there is no method {name:?}");
            Error::input("--method", what, format!("use one of {}", names.join(", ")))
        })?;
        Ok(Chosen { entry, settings: Settings::defaults(entry.settings) })
    }

    /// Returns the method with a setting changed to a value from a file. The words of its name may be joined by `-` or
    /// `_`.
    ///
    /// A setting that the method does not have, or a value that the setting does not take.
    pub fn with(mut self, name: &str, value: &Toml) -> Result<Self> {
        let name = name.replace('_', "-");
        let setting = self.setting(&name).ok_or_else(|| self.refuse(&name))?;
        self.settings.set(setting.name, setting.read(value)?);
        Ok(self)
    }

    /// Returns the method with a setting changed to a value from the command line.
    ///
    /// Those of [`Chosen::with`].
    pub fn with_flag(mut self, name: &str, text: &str) -> Result<Self> {
        let setting = self.setting(name).ok_or_else(|| self.refuse(name))?;
        self.settings.set(setting.name, setting.parse(text)?);
        Ok(self)
    }

    /// The method's declaration of a setting, found by its name or its published name.
    pub fn setting(&self, name: &str) -> Option<&'static Setting> {
        self.entry.settings.iter().find(|setting| setting.name == name || setting.published == Some(name))
    }

    fn refuse(&self, name: &str) -> Error {
        let method = self.entry.name;
        let what = format!("is not a setting of --method {method}");
        let owners: Vec<_> = METHODS
            .iter()
            .filter(|entry| entry.settings.iter().any(|setting| setting.name == name))
            .map(|entry| entry.name)
            .collect();
        let hint = match owners.is_empty() {
            true => format!("see svp-train --method {method} --help"),
            false => format!("leave it out, or use --method {}", owners.join(" or ")),
        };
        Error::input(format!("--{name}"), what, hint)
    }

    /// Checks that the method runs on a backbone.
    ///
    /// # Errors
    /// A backbone of a family that the entry does not name.
    pub fn check(&self, spec: &Spec) -> Result<()> {
        if self.entry.backbones.contains(&spec.family) {
            return Ok(());
        }
        let what = format!("{} does not run on a {} backbone", self.entry.name, spec.family);
        let able: Vec<_> = METHODS
            .iter()
            .filter(|entry| entry.backbones.contains(&spec.family))
            .map(|entry| entry.name)
            .collect();
        Err(Error::input("--method", what, format!("use one of {}", able.join(", "))))
    }

    /// Builds the method for a backbone and adds its parameters.
    ///
    /// A backbone that the method does not run on, or settings that do not fit it.
    pub fn build(&self, site: &mut Site) -> Result<Box<dyn Method>> {
        self.check(site.spec)?;
        (self.entry.build)(&self.settings, site)
    }

    /// Settings of a run on a backbone, where neither a flag nor a file gives them.
    pub fn defaults(&self, spec: &Spec) -> Defaults {
        (self.entry.defaults)(spec, &self.settings)
    }
}

/// The method that is taken where none is named, on a backbone of a family.
pub fn default_on(family: &str) -> &'static Entry {
    METHODS.iter().find(|entry| entry.default_on.contains(&family)).unwrap_or(&METHODS[0])
}

impl Default for Chosen {
    fn default() -> Self {
        Chosen { entry: METHODS[0], settings: Settings::defaults(METHODS[0].settings) }
    }
}

impl PartialEq for Chosen {
    fn eq(&self, other: &Self) -> bool {
        self.entry.name == other.entry.name && self.settings == other.settings
    }
}

impl std::fmt::Debug for Chosen {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{} {:?}", self.entry.name, self.settings)
    }
}

/// Writes the key `method` and, if the method has settings, a table of its name with them.
impl Serialize for Chosen {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("method", self.entry.name)?;
        let table = self.settings.table();
        if !table.is_empty() {
            map.serialize_entry(self.entry.name, &table)?;
        }
        map.end()
    }
}

/// Reads the same keys and refuses any other.
impl<'de> Deserialize<'de> for Chosen {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        let mut keys = Table::deserialize(from)?;
        let name = match keys.remove("method") {
            Some(Toml::String(name)) => name,
            Some(other) => return Err(D::Error::custom(format!("method is {other}, not a name"))),
            None => return Err(D::Error::missing_field("method")),
        };
        let mut chosen = Chosen::named(&name).map_err(D::Error::custom)?;
        if let Some(Toml::Table(settings)) = keys.remove(&name) {
            for (name, value) in &settings {
                chosen = chosen.with(name, value).map_err(D::Error::custom)?;
            }
        }
        match keys.keys().next() {
            None => Ok(chosen),
            Some(unknown) => Err(D::Error::custom(format!("unknown field `{unknown}`"))),
        }
    }
}

/// Names of all settings of all methods, each once, in the order of the registry.
pub fn setting_names() -> Vec<&'static str> {
    let mut names = vec![];
    for setting in METHODS.iter().flat_map(|entry| entry.settings) {
        if !names.contains(&setting.name) {
            names.push(setting.name);
        }
    }
    names
}

/// The table of methods in Markdown: name, what is trained, families of backbones, and source.
pub fn table() -> String {
    let titles = |entry: &Entry| {
        let runs = FAMILIES.iter().filter(|family| entry.backbones.contains(&family.name));
        runs.map(|family| family.title).collect::<Vec<_>>().join(", ")
    };
    let line = |entry: &&Entry| {
        format!("| `{}` | {} | {} | {} |\n", entry.name, entry.trains, titles(entry), entry.source)
    };
    let head = "| method | trains | on | source |\n|---|---|---|---|\n";
    head.to_string() + &METHODS.iter().map(line).collect::<String>()
}

#[cfg(test)]
pub(crate) mod tests;
