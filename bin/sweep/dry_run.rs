//! What a sweep would do.

use std::collections::HashSet;

use svp::Result;
use svp::report::Table;
use svp::report::table::count;
use svp::sweep::{Plan, Results, Run, State};
use svp::train::{backbone, dataset};

/// Data, runs and what is done of them.
pub fn text(plan: &Plan, results: &Results, mine: impl Fn(usize) -> bool) -> Result<String> {
    check_backbones(plan)?;
    let mut data = Table::new(["task", "classes", "train", "val", "test"]);
    let mut problems = vec![];
    for (t, task) in plan.tasks.iter().enumerate() {
        match dataset(&plan.cell(t, 0).points[0].runs[0].config) {
            Ok(found) => {
                let [train, val, test] = [Some(found.train), found.val, found.test]
                    .map(|split| split.map_or("-".into(), |split| count(split.len() as u64)));
                data.row([task.name.clone(), count(found.classes.len() as u64), train, val, test]);
            }
            Err(e) => problems.push(format!("{}: {e}\n", task.name)),
        }
    }
    let mut runs = Table::new(["run", "state"]);
    let open = results.open(&mine);
    for run in plan.runs().filter(|run| mine(run.unit)) {
        let state = match results.state(run) {
            State::Todo if open.iter().any(|open| open.folder == run.folder) => "to do",
            // Of settings that may be chosen later, or were not.
            State::Todo => continue,
            State::Running => "running",
            State::Done(_) => "done",
            State::Failed(_) => "diverged",
        };
        runs.row([run.folder.display().to_string(), state.into()]);
    }
    let left = open.len();
    Ok(format!("{data}{}\n{runs}\n{left} runs to make; nothing was written\n", problems.concat()))
}

/// Loads each backbone once, so that a wrong one is found before the first run.
pub fn check_backbones(plan: &Plan) -> Result<()> {
    let key = |run: &&Run| {
        let config = &run.config;
        (config.backbone.clone(), config.img_size, config.stride, config.allow_mismatch)
    };
    let mut seen = HashSet::new();
    let mut runs = plan.runs().filter(|run| run.config.model.is_none() && seen.insert(key(run)));
    runs.try_for_each(|run| backbone(&run.config).map(drop))
}
