//! What a sweep would do, without doing it.

use std::collections::HashSet;
use std::path::Path;
use std::process::ExitCode;

use svp::report::table::count;
use svp::report::{RunDir, Table};
use svp::sweep::{Plan, Results, RunStatus};
use svp::train::dataset;
use svp::{Error, Result};

/// Prints the data, the runs and which of them are done. Data that cannot be opened are an error in the end.
pub fn tell(plan: &Plan, results: &Results, out: &Path, mine: impl Fn(usize) -> bool) -> Result<ExitCode> {
    let mut data = Table::new(["task", "classes", "train", "val", "test"]);
    let mut problems = vec![];
    for (t, task) in plan.tasks.iter().enumerate() {
        match dataset(&plan.cell(t, 0).points[0].reported[0].config) {
            Ok(dataset) => {
                let [train, val, test] = [Some(dataset.train), dataset.val, dataset.test]
                    .map(|split| split.map_or("-".into(), |split| count(split.len() as u64)));
                data.row([task.name.clone(), count(dataset.classes.len() as u64), train, val, test]);
            }
            Err(e) => problems.push(format!("{}: {e}\n", task.name)),
        }
    }
    let mut runs = Table::new(["run", "status"]);
    let open: HashSet<_> = results.open(&mine).into_iter().map(|run| run.folder.as_os_str()).collect();
    for run in plan.runs().filter(|run| mine(run.unit)) {
        let status = match results.status(run) {
            _ if RunDir::is_busy(&out.join(&run.folder)) => "running",
            RunStatus::Todo if open.contains(run.folder.as_os_str()) => "to do",
            // Its hyper-parameters may be chosen later, or others were.
            RunStatus::Todo | RunStatus::Running => continue,
            RunStatus::Done(_) => "done",
            RunStatus::Failed(_) => "diverged",
        };
        runs.row([run.name(), status.into()]);
    }
    let left = open.len();
    svp_cli::print(&format!(
        "{data}\n{runs}\n{}{left} runs to make; nothing was written\n",
        problems.concat()
    ))?;
    match problems.len() {
        0 => Ok(ExitCode::SUCCESS),
        n => {
            let what = format!("the data of {n} tasks cannot be opened");
            Err(Error::input(&plan.sweep.title, what, "see above; `svp-data check` says more"))
        }
    }
}
