//! The settings of methods, on the command line and in files, as the registry declares them.

use std::collections::BTreeMap;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use svp::Result;
use svp::methods::{Chosen, Entry, Kind, METHODS, Setting, setting_names};
use toml::{Table, Value};

/// Names of all settings of all methods.
pub fn names() -> Vec<&'static str> {
    setting_names()
}

/// The settings that are given, before it is known which method they are for.
#[derive(Debug, Clone, Default)]
pub struct MethodSettings {
    /// Flags of the command line. The method must have them all.
    flags: BTreeMap<&'static str, String>,
    /// Settings that stand at the top of a file. Those of other methods are left unused.
    flat: BTreeMap<String, Value>,
    /// Settings in a file's tables, by the names of methods.
    tables: BTreeMap<String, Table>,
    /// Settings of a preset.
    preset: BTreeMap<String, Value>,
}

impl MethodSettings {
    /// Collects the settings of methods from a config file.
    pub fn of_file(file: &Table) -> Self {
        let mut settings = MethodSettings::default();
        for (key, value) in file {
            match value {
                Value::Table(table) => drop(settings.tables.insert(key.clone(), table.clone())),
                value if names().contains(&key.as_str()) => {
                    drop(settings.flat.insert(key.clone(), value.clone()))
                }
                _ => {}
            }
        }
        settings
    }

    /// Makes these the settings of a preset, which give way to all others.
    pub fn of_preset(self) -> Self {
        MethodSettings { preset: self.flat, ..MethodSettings::default() }
    }

    /// Fills settings that are not given from `file`.
    pub fn over(mut self, file: Self) -> Self {
        for (name, text) in file.flags {
            self.flags.entry(name).or_insert(text);
        }
        for (to, from) in [(&mut self.flat, file.flat), (&mut self.preset, file.preset)] {
            for (name, value) in from {
                to.entry(name).or_insert(value);
            }
        }
        for (method, table) in file.tables {
            let kept = self.tables.entry(method).or_default();
            for (name, value) in table {
                kept.entry(name).or_insert(value);
            }
        }
        self
    }

    /// Names of the settings that are given, and of methods with tables.
    pub fn given(&self) -> impl Iterator<Item = &str> {
        let files = self.flat.keys().chain(self.tables.keys()).map(String::as_str);
        self.flags.keys().copied().chain(files)
    }

    /// Finds the method of this name and applies its settings.
    ///
    /// An unknown method, a flag or a key of its table that it does not have, or a value that the setting does not
    /// take.
    pub fn choose(&self, method: &str) -> Result<Chosen> {
        let mut chosen = Chosen::named(method)?;
        for (name, value) in &self.preset {
            if chosen.setting(name).is_some() {
                chosen = chosen.with(name, value)?;
            }
        }
        for (name, value) in self.tables.get(method).into_iter().flatten() {
            chosen = chosen.with(name, value)?;
        }
        for (name, value) in &self.flat {
            if chosen.setting(name).is_some() {
                chosen = chosen.with(name, value)?;
            }
        }
        for (name, text) in &self.flags {
            chosen = chosen.with_flag(name, text)?;
        }
        Ok(chosen)
    }

    /// Describes, one line each, what a file sets for methods other than `method`.
    pub fn unused(&self, method: &str) -> Vec<String> {
        let Ok(chosen) = Chosen::named(method) else { return vec![] };
        let line = |name: &str| format!("{name} in the file has no effect: it is not a setting of {method}");
        let flat = self.flat.keys().filter(|name| chosen.setting(name).is_none());
        let flat = flat.map(|name| line(name));
        let tables = self.tables.keys().filter(|name| *name != method).map(|name| line(&format!("[{name}]")));
        flat.chain(tables).collect()
    }
}

/// The methods that have a setting, each with its declaration.
fn owners(name: &str) -> Vec<(&'static Entry, &'static Setting)> {
    let of =
        |entry: &&'static Entry| Some((*entry, entry.settings.iter().find(|setting| setting.name == name)?));
    METHODS.iter().filter_map(of).collect()
}

fn flag(name: &'static str) -> Arg {
    let owners = owners(name);
    let methods: Vec<_> = owners.iter().map(|(entry, _)| entry.name).collect();
    let (_, first) = owners[0];
    let help = |setting: &Setting| format!("{} [default: {}]", setting.help, setting.default);
    let same = owners.iter().all(|(_, setting)| help(setting) == help(first));
    let help = match same {
        true => help(first),
        false => {
            let each = owners.iter().map(|(entry, setting)| format!("{}: {}", entry.name, help(setting)));
            each.collect::<Vec<_>>().join("; ")
        }
    };
    let arg = Arg::new(name).long(name).action(ArgAction::Set).help(help);
    let arg = arg.help_heading(format!("Settings of --method {}", methods.join(" or ")));
    match first.kind {
        Kind::Flag => arg.value_name("BOOL").num_args(0..=1).default_missing_value("true"),
        Kind::Count(..) => arg.value_name("N"),
        Kind::Number(..) => arg.value_name("NUMBER"),
        Kind::Choice(_) => arg.value_name("WORD"),
        Kind::Words(_) => arg.value_name("WORDS"),
        Kind::Auto(_) => arg.value_name("auto|NUMBER"),
    }
}

impl Args for MethodSettings {
    fn augment_args(command: Command) -> Command {
        names().into_iter().fold(command, |command, name| command.arg(flag(name)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for MethodSettings {
    fn from_arg_matches(matches: &ArgMatches) -> std::result::Result<Self, clap::Error> {
        let mut settings = MethodSettings::default();
        settings.update_from_arg_matches(matches)?;
        Ok(settings)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> std::result::Result<(), clap::Error> {
        for name in names() {
            if let Some(text) = matches.get_one::<String>(name) {
                self.flags.insert(name, text.clone());
            }
        }
        Ok(())
    }
}

/// Hides the flags of other methods in the help of the command, where the arguments name a method.
pub fn of_named_method(mut command: Command, arguments: impl Iterator<Item = String>) -> Command {
    let arguments: Vec<String> = arguments.collect();
    let after = arguments.iter().position(|argument| argument == "--method").map(|at| at + 1);
    let joined = arguments.iter().find_map(|argument| argument.strip_prefix("--method="));
    let named = joined.or_else(|| arguments.get(after?).map(String::as_str));
    let Some(entry) = METHODS.iter().find(|entry| Some(entry.name) == named) else { return command };
    for name in names() {
        if entry.settings.iter().all(|setting| setting.name != name) {
            command = command.mut_arg(name, |arg| arg.hide(true));
        }
    }
    let backbones = entry.backbones.join(", ");
    command.before_help(format!(
        "--method {}: {}. Trains {}. Runs on: {backbones}.",
        entry.name, entry.about, entry.trains
    ))
}
