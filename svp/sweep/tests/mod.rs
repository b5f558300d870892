mod plan;
mod results;

use std::path::Path;

use toml::Table;

use super::*;
use crate::train::TrainConfig;
use crate::{Error, Result};

/// What the command's flags would make of settings; tests need no presets.
pub(crate) fn resolve(settings: &Table) -> Result<TrainConfig> {
    let base = r#"
        allow-mismatch = false
        data = "photos"
        dataset = "auto"
        val-fraction = 0.2
        method = "svp"
        variant = "paper"
        hidden = 64
        group-size = 8
        inner = true
        cross = true
        head = "linear"
        simam = false
        epochs = 10
        batch-size = 32
        lr = 0.1
        lr-scaling = true
        warmup-epochs = 0
        warmup-lr = 0.0
        min-lr = 0.0
        weight-decay = 0.0
        smoothing = 0.1
        drop-path = 0.0
        augment = true
        crop-scale-min = 0.08
        flip = true
        seed = 7
        select-on-test = false
        workers = 1
        save-every = 0
    "#;
    let mut table: Table = base.parse().unwrap();
    table.extend(settings.clone());
    crate::train::migrated(table)
        .try_into()
        .map_err(|e: toml::de::Error| Error::input("settings", e.message(), "see --help"))
}

fn sweep(text: &str) -> Sweep {
    Sweep::parse(Path::new("a.toml"), &format!("title = 'A'\n{text}")).unwrap()
}

fn plan(text: &str) -> Plan {
    Plan::new(sweep(text), &resolve).unwrap()
}

#[track_caller]
fn refused(text: &str, parts: &[&str]) {
    let made = Sweep::parse(Path::new("a.toml"), &format!("title = 'A'\n{text}"));
    let error = made.and_then(|sweep| Plan::new(sweep, &resolve)).expect_err("refused").to_string();
    assert!(!error.contains('\n'), "{error}");
    for part in parts {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
}

fn folders<'a>(runs: impl IntoIterator<Item = &'a Run>) -> Vec<String> {
    runs.into_iter().map(|run| run.folder.to_str().unwrap().replace('\\', "/")).collect()
}

/// Two tasks, two methods, a choice for one of them, two seeds.
const TWO: &str = "
    methods = ['linear', { name = 'SVP', method = 'svp', choose = { lr = [0.1, 0.2] } }]
    seeds = [0, 1]
    [[tasks]]
    name = 'birds'
    group = 'natural'
    [[tasks]]
    name = 'signs'
    group = 'structured'
";
