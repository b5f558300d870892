//! The steps in their order, and the time for each.

use std::time::{Duration, Instant};

use crate::environment::Environment;
use crate::options::Options;
use crate::report::{Found, Report, Section, Status};
use crate::{bench_steps, targets, test_steps, training};

/// One step: seconds below which it is not begun, and that it may take at most.
struct Step {
    name: &'static str,
    least: u64,
    most: u64,
    run: fn(&Environment, &mut bench_steps::Build, Duration) -> Result<Found, Status>,
}

impl Step {
    /// Whether there is what it needs: no time is kept for what only says that there is not.
    fn possible(&self, environment: &Environment) -> bool {
        match self.name {
            "memcheck" | "racecheck" => environment.sanitizer.is_some(),
            "reference" => environment.torch.is_ok(),
            _ => true,
        }
    }
}

/// What shows mistakes comes first; what measures comes when the compilers of the references have ended.
const STEPS: [Step; 10] = [
    Step {
        name: "conformance",
        least: 30,
        most: 150,
        run: |env, _, limit| test_steps::conformance(env, limit),
    },
    Step { name: "goldens", least: 10, most: 60, run: |env, _, limit| test_steps::goldens(env, limit) },
    Step { name: "training steps", least: 10, most: 30, run: |env, _, limit| test_steps::steps(env, limit) },
    Step {
        name: "instructions",
        least: 20,
        most: 60,
        run: |env, _, limit| test_steps::instructions(env, limit),
    },
    Step {
        name: "memcheck",
        least: 20,
        most: 60,
        run: |env, _, limit| test_steps::sanitizer(env, "memcheck", limit),
    },
    Step {
        name: "racecheck",
        least: 20,
        most: 60,
        run: |env, _, limit| test_steps::sanitizer(env, "racecheck", limit),
    },
    Step { name: "end to end", least: 40, most: 100, run: |env, _, limit| training::end_to_end(env, limit) },
    Step {
        name: "kernels",
        least: 50,
        most: 120,
        run: |env, _, limit| bench_steps::bench(env, "kernels", limit),
    },
    Step { name: "step", least: 20, most: 60, run: |env, _, limit| bench_steps::bench(env, "step", limit) },
    Step { name: "reference", least: 60, most: 400, run: bench_steps::reference },
];

/// Runs what the budget has room for.
pub fn run(options: &Options, environment: &Environment) -> Report {
    // Writing the report takes no time, ending a program may.
    let deadline = Instant::now() + options.budget.saturating_sub(Duration::from_secs(10));
    let mut build = bench_steps::Build::start(environment);
    let mut sections = vec![];
    for (i, step) in STEPS.iter().enumerate() {
        let kept: u64 =
            STEPS[i + 1..].iter().filter(|step| step.possible(environment)).map(|step| step.least).sum();
        let left = deadline.saturating_duration_since(Instant::now());
        let limit = left.saturating_sub(Duration::from_secs(kept)).min(Duration::from_secs(step.most));
        let begun = Instant::now();
        let found = match &environment.gpu {
            Err(why) => Err(Status::NotRun(why.clone())),
            Ok(_) if limit < Duration::from_secs(step.least) => {
                Err(Status::NotRun(format!("{} s of the budget are left for it", limit.as_secs())))
            }
            Ok(_) => (step.run)(environment, &mut build, limit),
        };
        let found = found.unwrap_or_else(|status| Found { status, ..Found::default() });
        let section = Section { name: step.name, seconds: begun.elapsed().as_secs_f64(), found };
        eprintln!("{:<15} {} ({:.0} s)", section.name, section.found.status, section.seconds);
        sections.push(section);
    }
    let data = |name: &str| {
        let section = sections.iter().find(|section| section.name == name);
        section.map(|section| section.found.data.clone()).unwrap_or_default()
    };
    let comparison = targets::Comparison::of(&data("kernels"), &data("step"), &data("reference"));
    let targets = comparison.targets(environment.smoke);
    for section in &mut sections {
        match section.name {
            "kernels" => section.found.tables.extend(comparison.kernel_table()),
            "step" => section.found.tables.extend(comparison.step_table()),
            _ => {}
        }
    }
    let facts = environment.facts.iter().map(|(what, value)| (what.to_string(), value.clone())).collect();
    let device = environment.gpu.as_deref().unwrap_or("none").to_string();
    Report { facts, device, smoke: environment.smoke, sections, targets }
}
