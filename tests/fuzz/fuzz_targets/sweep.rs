#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use svp::sweep::{Plan, Results, Sweep, csv, json, markdown, runs_csv};
use svp::train::TrainConfig;
use svp::{Error, Result};
use svp_cli::Options;
use svp_fuzz::{checked, start};
use toml::Table;

fn resolve(settings: &Table) -> Result<TrainConfig> {
    let options = Options::of_table(settings).map_err(|what| Error::input("settings", what, "see --help"))?;
    // What these name is read by other targets.
    Options { backbone: None, model: None, ..options }.with_preset()?.resolve()
}

fuzz_target!(init: start(), |input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Some(sweep) = checked(Sweep::parse(Path::new("sweep.toml"), text)) else { return };
    let kept = sweep.text();
    assert_eq!(checked(Sweep::parse(Path::new("kept.toml"), &kept)).map(|kept| kept.text()), Some(kept));
    sweep.without_paths();
    let Some(plan) = checked(Plan::new(sweep, &resolve)) else { return };
    for run in plan.runs() {
        let inside = run.folder.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        assert!(inside, "{}", run.folder.display());
    }
    let Some(results) = checked(Results::read(&plan, &["/nonexistent".into()])) else { return };
    (csv(&plan, &results), json(&plan, &results), markdown(&plan, &results), runs_csv(&plan, &results));
});
