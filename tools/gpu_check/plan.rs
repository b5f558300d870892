//! The steps in their order, and the time for each.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::environment::Environment;
use crate::options::{Chosen, Options};
use crate::report::{Files, Found, Report, Section, Status};
use crate::{bench_steps, profile, targets, test_steps, training};

/// What a step may use.
pub struct Call<'a> {
    pub environment: &'a Environment,
    /// What the steps before it have found.
    pub before: &'a [Section],
    /// The time that it has.
    pub limit: Duration,
}

impl Call<'_> {
    /// The data that a step before has found; `null` where it has not.
    pub fn data(&self, step: &str) -> Value {
        data(self.before, step)
    }
}

/// One step. Its times are in seconds.
pub struct Step {
    pub name: &'static str,
    /// What it takes on a large GPU.
    pub expected: u64,
    /// With less than this left it is not begun. As much is kept for it while steps before it run.
    least: u64,
    most: u64,
    run: fn(&Call) -> Result<Found, Status>,
}

const fn step(
    name: &'static str,
    [least, expected, most]: [u64; 3],
    run: fn(&Call) -> Result<Found, Status>,
) -> Step {
    Step { name, expected, least, most, run }
}

/// What shows mistakes comes first, then what measures, and last what is slow and can be left to another call.
pub const STEPS: [Step; 12] = [
    step("products", [10, 15, 60], test_steps::products),
    step("conformance", [30, 60, 150], test_steps::conformance),
    step("goldens", [10, 20, 60], test_steps::goldens),
    step("training-steps", [10, 15, 30], test_steps::steps),
    step("instructions", [15, 30, 60], test_steps::instructions),
    step("kernels", [40, 90, 120], |call| bench_steps::bench(call, "kernels")),
    step("step", [20, 45, 90], |call| bench_steps::bench(call, "step")),
    step("reference", [120, 240, 420], bench_steps::reference),
    step("ncu", [30, 60, 120], profile::ncu),
    step("end-to-end", [40, 60, 100], training::end_to_end),
    step("memcheck", [20, 60, 240], |call| test_steps::sanitizer(call, "memcheck")),
    step("racecheck", [20, 90, 300], |call| test_steps::sanitizer(call, "racecheck")),
];
/// The last step for which time is kept. Those after it get what is left.
const KEPT: &str = "reference";

impl Step {
    /// Whether there is what it needs: no time is kept for what only says that there is not.
    fn possible(&self, environment: &Environment) -> bool {
        self.name != "reference" || environment.reference().is_ok()
    }

    /// The time that it gets of what is left, when so many seconds are kept for later steps. What comes first gets what it
    /// is expected to take all the same. A try of the tool may take long: an emulator runs the kernels.
    fn limit(&self, left: Duration, kept: u64, smoke: bool) -> Duration {
        let expected = left.min(Duration::from_secs(self.expected));
        let most = Duration::from_secs(if smoke { 4 * self.most } else { self.most });
        left.saturating_sub(Duration::from_secs(kept)).max(expected).min(most)
    }
}

/// Runs what was chosen and the budget has room for; after each step the report is written.
pub fn run(options: &Options, environment: &Environment, files: &Files) -> Result<Report, String> {
    let earlier =
        options.with.as_deref().map(|path| Section::read_all(path, environment.device())).transpose()?;
    let mut earlier = earlier.unwrap_or_default();
    // Ending a program takes a moment.
    let deadline = Instant::now() + options.budget.saturating_sub(Duration::from_secs(10));
    let mut sections: Vec<Section> = vec![];
    for (place, step) in STEPS.iter().enumerate() {
        let found_before = earlier.iter().position(|section| section.name == step.name);
        if let Some(at) = found_before.filter(|_| !options.chosen.has(place)) {
            sections.push(earlier.swap_remove(at));
            continue;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let limit = step.limit(left, kept(&options.chosen, environment, place), environment.smoke);
        let begun = Instant::now();
        let found = match &environment.gpu {
            _ if !options.chosen.has(place) => Err(Status::NotRun("not asked for".into())),
            Err(why) => Err(Status::NotRun(why.clone())),
            Ok(_) if limit < Duration::from_secs(step.least) => {
                Err(Status::out_of_time(limit, step.expected))
            }
            Ok(_) => (step.run)(&Call { environment, before: &sections, limit }),
        };
        let found = found.unwrap_or_else(|status| Found { status, ..Found::default() });
        let seconds = begun.elapsed().as_secs_f64();
        let section = Section { name: step.name, seconds, expected: step.expected, found };
        eprintln!("{:<15} {} ({:.0} s)", section.name, section.found.status, section.seconds);
        sections.push(section);
        report(environment, &sections).write(files, &environment.work)?;
    }
    let report = report(environment, &sections);
    report.write(files, &environment.work)?;
    Ok(report)
}

/// Seconds that are kept for the chosen steps after one.
fn kept(chosen: &Chosen, environment: &Environment, place: usize) -> u64 {
    let last = STEPS.iter().position(|step| step.name == KEPT).expect("a step");
    let later = STEPS.iter().enumerate().filter(|(at, _)| *at > place && *at <= last);
    let counts = later.filter(|(at, step)| chosen.has(*at) && step.possible(environment));
    counts.map(|(_, step)| step.least).sum()
}

fn data(sections: &[Section], step: &str) -> Value {
    let section = sections.iter().find(|section| section.name == step);
    section.map(|section| section.found.data.clone()).unwrap_or_default()
}

/// What is known after these steps.
fn report(environment: &Environment, sections: &[Section]) -> Report {
    let mut sections = sections.to_vec();
    let data = |name: &str| data(&sections, name);
    let comparison = targets::Comparison::of(&data("kernels"), &data("step"), &data("reference"));
    let targets = comparison.targets(environment.smoke);
    for section in &mut sections {
        match section.name {
            "kernels" => section.found.tables.extend(comparison.kernel_table()),
            "step" => {
                section.found.tables.extend(comparison.step_table().into_iter().chain(comparison.heaviest()))
            }
            _ => {}
        }
    }
    let facts = environment.facts.iter().map(|(what, value)| (what.to_string(), value.clone())).collect();
    Report { facts, device: environment.device().into(), smoke: environment.smoke, sections, targets }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Command, parse};

    fn chosen(arguments: &str) -> Result<Chosen, String> {
        match parse(arguments.split_whitespace().map(String::from))? {
            Command::Run(options) => Ok(options.chosen),
            _ => panic!("another command"),
        }
    }

    #[test]
    fn steps_are_chosen_by_name() {
        let names = |chosen: &Chosen| {
            let places = (0..STEPS.len()).filter(|&place| chosen.has(place));
            places.map(|place| STEPS[place].name).collect::<Vec<_>>()
        };
        assert_eq!(names(&chosen("").unwrap()).len(), STEPS.len());
        assert_eq!(names(&chosen("").unwrap())[0], "products");
        assert_eq!(names(&chosen("--only step,products").unwrap()), ["products", "step"]);
        assert_eq!(names(&chosen("--from memcheck").unwrap()), ["memcheck", "racecheck"]);
        let unknown = chosen("--from memchek").unwrap_err();
        assert!(
            unknown.starts_with("there is no step \"memchek\"; there are products, conformance"),
            "{unknown}"
        );
        assert!(chosen("--from step --only step").is_err());
    }

    #[test]
    fn time_is_kept_for_what_comes_until_the_reference() {
        let environment = Environment::for_tests();
        let at = |name: &str| STEPS.iter().position(|step| step.name == name).unwrap();
        let least = |names: &[&str]| names.iter().map(|name| STEPS[at(name)].least).sum::<u64>();
        assert_eq!(kept(&Chosen::All, &environment, at("instructions")), least(&["kernels", "step"]));
        assert_eq!(kept(&Chosen::All, &environment, at("memcheck")), 0);
        let some = Chosen::Only(vec!["products".into(), "step".into(), "racecheck".into()]);
        assert_eq!(kept(&some, &environment, at("products")), least(&["step"]));
        // A step gets what is not kept, but what it is expected to take in any case, and no more than it may take.
        let limit = |left, kept| {
            let step = step("a step", [10, 20, 60], test_steps::products);
            step.limit(Duration::from_secs(left), kept, false).as_secs()
        };
        assert_eq!([limit(100, 65), limit(100, 95), limit(15, 95), limit(500, 0)], [35, 20, 15, 60]);
        // The default budget has room for every step until the reference, as it is expected on a large GPU.
        let all: u64 = STEPS[..=at(KEPT)].iter().map(|step| step.expected).sum();
        assert!(all <= 540 - 10, "{all}");
        assert!(STEPS.iter().all(|step| step.least <= step.expected && step.expected <= step.most));
    }
}
