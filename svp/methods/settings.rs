//! The settings of a method: the declarations of its entry, and the values of one run.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use toml::Value as Toml;

use crate::{Error, Result};

/// A setting of a method: a flag of the command line and a key of the method's table in files.
#[derive(Debug)]
pub struct Setting {
    /// Name as on the command line, without `--`.
    pub name: &'static str,
    /// Name in the publication, where it is another one; files may use it.
    pub published: Option<&'static str>,
    /// The values that it takes.
    pub kind: Kind,
    /// The value where none is given.
    pub default: Value,
    /// One line for `--help`, without the default.
    pub help: &'static str,
    /// Whether files omit it at its default, because versions of the program that do not know it read them too.
    pub later: bool,
}

/// The values that a setting takes. Bounds are inclusive.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A switch: true or false.
    Flag,
    /// A whole number between two bounds.
    Count(usize, usize),
    /// A number between two bounds.
    Number(f64, f64),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// One or more of these words, joined by commas; at most 32 words.
    Words(&'static [&'static str]),
    /// The word [`AUTO`], or a value of this kind.
    Auto(&'static Kind),
}

/// The word of a [`Kind::Auto`] that leaves the value to be found; it is then a [`Value::Choice`].
pub const AUTO: &str = "auto";

/// A value of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// Value of a [`Kind::Flag`].
    Flag(bool),
    /// Value of a [`Kind::Count`].
    Count(usize),
    /// Value of a [`Kind::Number`].
    Number(f64),
    /// Value of a [`Kind::Choice`].
    Choice(&'static str),
    /// Value of a [`Kind::Words`].
    Words(Words),
}

/// Some of the words of a setting. Files have them as one text, joined by commas in the order of the declaration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Words {
    of: &'static [&'static str],
    /// Bit i is for word i.
    chosen: u32,
}

impl Words {
    /// The first word alone.
    pub const fn first(of: &'static [&'static str]) -> Self {
        Words { of, chosen: 1 }
    }

    /// Finds the words of a text; `None` where one is unknown or none is given.
    fn read(of: &'static [&'static str], text: &str) -> Option<Self> {
        let mut chosen = 0;
        for word in text.split(',') {
            chosen |= 1 << of.iter().position(|known| *known == word.trim())?;
        }
        Some(Words { of, chosen })
    }

    /// The chosen words, in the order of the declaration.
    pub fn iter(self) -> impl Iterator<Item = &'static str> {
        (0..self.of.len()).filter(move |i| self.chosen >> i & 1 == 1).map(move |i| self.of[i])
    }
}

impl std::fmt::Display for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(&self.iter().collect::<Vec<_>>().join(","))
    }
}

impl Serialize for Words {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl Setting {
    /// Declares a setting that every version of the program has known.
    pub const fn new(name: &'static str, kind: Kind, default: Value, help: &'static str) -> Self {
        Setting { name, published: None, kind, default, help, later: false }
    }

    /// Reads a value from a file.
    ///
    /// A value of another type or out of range.
    pub fn read(&self, value: &Toml) -> Result<Value> {
        self.kind.read(value).ok_or_else(|| {
            let what = format!("{value} is not a value of it");
            Error::input(format!("--{}", self.name), what, format!("use {}", self.kind.range()))
        })
    }

    /// Reads a value from the command line.
    ///
    /// Those of [`Setting::read`].
    pub fn parse(&self, text: &str) -> Result<Value> {
        self.read(&self.kind.parse(text))
    }
}

impl Kind {
    /// The value of this kind that a file gives, if it is one.
    fn read(self, value: &Toml) -> Option<Value> {
        match (self, value) {
            (Kind::Flag, Toml::Boolean(on)) => Some(Value::Flag(*on)),
            (Kind::Count(least, most), Toml::Integer(n)) => {
                let n = usize::try_from(*n).ok();
                n.filter(|n| (least..=most).contains(n)).map(Value::Count)
            }
            (Kind::Number(least, most), Toml::Integer(_) | Toml::Float(_)) => {
                let x = value.as_float().or(value.as_integer().map(|n| n as f64));
                x.filter(|x| *x >= least && *x <= most).map(Value::Number)
            }
            (Kind::Choice(words), Toml::String(word)) => {
                words.iter().find(|known| *known == word).map(|word| Value::Choice(word))
            }
            (Kind::Words(words), Toml::String(text)) => Words::read(words, text).map(Value::Words),
            (Kind::Auto(_), Toml::String(word)) if word == AUTO => Some(Value::Choice(AUTO)),
            (Kind::Auto(kind), value) => kind.read(value),
            _ => None,
        }
    }

    /// What a text of the command line would be in a file; a word where it is nothing of this kind.
    fn parse(self, text: &str) -> Toml {
        let word = || Toml::String(text.into());
        match self {
            Kind::Choice(_) | Kind::Words(_) => word(),
            Kind::Flag => text.parse().map_or_else(|_| word(), Toml::Boolean),
            Kind::Count(..) => text.parse().map_or_else(|_| word(), Toml::Integer),
            Kind::Number(..) => text.parse().map_or_else(|_| word(), Toml::Float),
            Kind::Auto(kind) => kind.parse(text),
        }
    }

    /// Describes the values for help and errors, such as `true or false` or `paper, official`.
    pub fn range(self) -> String {
        match self {
            Kind::Flag => "true or false".into(),
            Kind::Count(least, usize::MAX) => format!("a whole number of at least {least}"),
            Kind::Count(least, most) => format!("a whole number from {least} to {most}"),
            Kind::Number(least, most) => format!("a number from {least} to {most}"),
            Kind::Choice(words) => words.join(", "),
            Kind::Words(words) => format!("one or more of {}, joined by commas", words.join(", ")),
            Kind::Auto(kind) => format!("{AUTO}, or {}", kind.range()),
        }
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Value::Flag(on) => on.fmt(f),
            Value::Count(n) => n.fmt(f),
            Value::Number(x) => x.fmt(f),
            Value::Choice(word) => f.write_str(word),
            Value::Words(words) => words.fmt(f),
        }
    }
}

/// The value of every setting of a method, in the order of its entry.
#[derive(Debug, Clone)]
pub struct Settings {
    declared: &'static [Setting],
    values: Vec<Value>,
}

impl PartialEq for Settings {
    fn eq(&self, other: &Self) -> bool {
        self.values == other.values
    }
}

impl Settings {
    /// Every declared setting at its default.
    pub fn defaults(declared: &'static [Setting]) -> Self {
        Settings { declared, values: declared.iter().map(|setting| setting.default).collect() }
    }

    fn at(&self, name: &str) -> Option<usize> {
        self.declared.iter().position(|setting| setting.name == name)
    }

    /// Sets a value that [`Setting::read`] has checked.
    ///
    /// # Panics
    /// Where the entry does not declare the setting.
    pub fn set(&mut self, name: &str, value: Value) {
        let at = self.at(name).unwrap_or_else(|| panic!("no setting {name} is declared"));
        self.values[at] = value;
    }

    /// The value of a setting.
    ///
    /// # Panics
    /// Where the entry does not declare the setting.
    pub fn get(&self, name: &str) -> Value {
        self.values[self.at(name).unwrap_or_else(|| panic!("no setting {name} is declared"))]
    }

    /// The value of a [`Kind::Flag`]; false for a setting of another kind.
    ///
    /// # Panics
    /// As [`Settings::get`].
    pub fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), Value::Flag(true))
    }

    /// The value of a [`Kind::Count`].
    ///
    /// # Panics
    /// As [`Settings::get`], and for a setting of another kind.
    pub fn count(&self, name: &str) -> usize {
        match self.get(name) {
            Value::Count(n) => n,
            other => unreachable!("{name} is {other:?}, not a count"),
        }
    }

    /// The value of a [`Kind::Number`].
    ///
    /// # Panics
    /// As [`Settings::get`], and for a setting of another kind.
    pub fn number(&self, name: &str) -> f64 {
        match self.get(name) {
            Value::Number(x) => x,
            other => unreachable!("{name} is {other:?}, not a number"),
        }
    }

    /// The value of a [`Kind::Choice`].
    ///
    /// # Panics
    /// As [`Settings::get`], and for a setting of another kind.
    pub fn choice(&self, name: &str) -> &'static str {
        match self.get(name) {
            Value::Choice(word) => word,
            other => unreachable!("{name} is {other:?}, not a choice"),
        }
    }

    /// The value of a [`Kind::Words`].
    ///
    /// # Panics
    /// As [`Settings::get`], and for a setting of another kind.
    pub fn words(&self, name: &str) -> Words {
        match self.get(name) {
            Value::Words(words) => words,
            other => unreachable!("{name} is {other:?}, not a list of words"),
        }
    }

    /// All settings by their names on the command line.
    pub fn all(&self) -> toml::Table {
        self.declared.iter().zip(self.values.iter().copied()).map(toml_entry).collect()
    }

    /// The settings that files hold, with their values.
    fn written(&self) -> impl Iterator<Item = (&'static Setting, Value)> {
        let all = self.declared.iter().zip(self.values.iter().copied());
        all.filter(|(setting, value)| !setting.later || *value != setting.default)
    }

    /// The settings that files hold, by their names on the command line.
    pub fn table(&self) -> toml::Table {
        self.written().map(toml_entry).collect()
    }
}

fn toml_entry((setting, value): (&Setting, Value)) -> (String, Toml) {
    (setting.name.to_string(), Toml::try_from(value).expect("plain values make valid TOML"))
}

/// Writes a map whose keys have the words of names joined by `_`, as trained files have them.
impl Serialize for Settings {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        for (setting, value) in self.written() {
            map.serialize_entry(&setting.name.replace('-', "_"), &value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITES: &[&str] = &["in", "out", "x"];

    static DECLARED: [Setting; 6] = [
        Setting::new("tokens", Kind::Count(1, 500), Value::Count(10), "Prompts"),
        Setting::new("deep", Kind::Flag, Value::Flag(true), "In every layer"),
        Setting::new("position", Kind::Choice(&["pre", "post"]), Value::Choice("pre"), "Where they stand"),
        Setting {
            later: true,
            ..Setting::new("drop-out", Kind::Number(0.0, 0.9), Value::Number(0.0), "Share dropped")
        },
        Setting::new("sites", Kind::Words(SITES), Value::Words(Words::first(SITES)), "Products"),
        Setting { later: true, ..Setting::new("depth", AUTO_DEPTH, Value::Choice(AUTO), "Found") },
    ];

    const AUTO_DEPTH: Kind = Kind::Auto(&Kind::Number(0.0, 9.0));

    #[test]
    fn values_are_read_from_flags_and_files() {
        let read = |i: usize, text: &str| DECLARED[i].parse(text);
        assert_eq!(read(0, "500").unwrap(), Value::Count(500));
        assert_eq!(read(1, "false").unwrap(), Value::Flag(false));
        assert_eq!(read(2, "post").unwrap(), Value::Choice("post"));
        assert_eq!(read(3, "0.25").unwrap(), Value::Number(0.25));
        assert_eq!(DECLARED[3].read(&Toml::Integer(0)).unwrap(), Value::Number(0.0));
        assert_eq!(read(5, "auto").unwrap(), Value::Choice(AUTO));
        assert_eq!(read(5, "2.5").unwrap(), Value::Number(2.5));
        let Value::Words(words) = read(4, "x, in").unwrap() else { panic!("words") };
        assert_eq!(words.iter().collect::<Vec<_>>(), ["in", "x"]);
        assert_eq!(DECLARED[4].read(&Toml::String(words.to_string())).unwrap(), Value::Words(words));
        for (i, text, parts) in [
            (0, "0", "--tokens: 0 is not a value of it; use a whole number from 1 to 500"),
            (0, "many", "use a whole number"),
            (1, "maybe", "use true or false"),
            (2, "Pre", "use pre, post"),
            (3, "NaN", "use a number from 0 to 0.9"),
            (3, "-1", "--drop-out: -1"),
            (4, "in,y", "use one or more of in, out, x, joined by commas"),
            (4, "", "use one or more"),
            (5, "Auto", "--depth: \"Auto\" is not a value of it; use auto, or a number from 0 to 9"),
            (5, "10", "use auto, or"),
        ] {
            let error = read(i, text).unwrap_err().to_string();
            assert!(error.contains(parts), "{error}");
        }
        assert!(DECLARED[0].read(&Toml::String("3".into())).is_err(), "a file has types");
    }

    #[test]
    fn later_settings_are_written_once_they_are_used() {
        let mut settings = Settings::defaults(&DECLARED);
        settings.set("tokens", Value::Count(3));
        let json = |settings: &Settings| serde_json::to_string(settings).unwrap();
        assert_eq!(json(&settings), r#"{"tokens":3,"deep":true,"position":"pre","sites":"in"}"#);
        settings.set("drop-out", Value::Number(0.5));
        assert_eq!(
            json(&settings),
            r#"{"tokens":3,"deep":true,"position":"pre","drop_out":0.5,"sites":"in"}"#
        );
        assert_eq!(settings.table().to_string().lines().count(), 5);
    }
}
