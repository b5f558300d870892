//! Settings from the environment.

use std::env;

use engine::cards;
use engine::launch::Limits;

/// The settings; the crate's documentation has a table of them.
#[derive(Debug)]
pub struct Config {
    pub version: i32,
    pub devices: usize,
    /// What the card has that each device plays.
    pub card: Limits,
    pub memory: usize,
    pub fail: Vec<Failure>,
    pub log: Option<String>,
    pub checks: bool,
}

/// A call that must fail.
#[derive(Debug, PartialEq)]
pub struct Failure {
    pub function: String,
    pub code: u32,
    /// Number of the call of the function, counted from 1.
    pub call: u64,
}

impl Config {
    /// # Panics
    /// On a value that is none: tests are to notice.
    pub fn from_environment() -> Self {
        let text = |name| env::var(name).ok().filter(|value| !value.is_empty());
        let number = |name, default| {
            text(name).map_or(default, |value| {
                value.parse::<usize>().unwrap_or_else(|_| panic!("{name}={value}: not a number"))
            })
        };
        let fail = text("FAKE_CUDA_FAIL").unwrap_or_default();
        let failure =
            |item| parse(item).unwrap_or_else(|| panic!("FAKE_CUDA_FAIL: {item}: not function:code@call"));
        let mut card = text("FAKE_CUDA_CARD").map_or(cards::H100, |card| {
            cards::parse(&card).unwrap_or_else(|why| panic!("FAKE_CUDA_CARD={card}: {why}"))
        });
        if text("FAKE_CUDA_CAPABILITY").is_some() {
            let capability = number("FAKE_CUDA_CAPABILITY", 0) as u32;
            card.compute_capability = [capability / 10, capability % 10];
        }
        Config {
            card,
            version: number("FAKE_CUDA_VERSION", 12_080) as i32,
            devices: number("FAKE_CUDA_DEVICES", 1),
            memory: number("FAKE_CUDA_MEMORY", 8 << 30),
            fail: fail.split(',').filter(|item| !item.is_empty()).map(failure).collect(),
            log: text("FAKE_CUDA_LOG"),
            checks: number("FAKE_CUDA_CHECKS", 1) != 0,
        }
    }

    /// The status with which a call must fail, if the environment asks for that.
    pub fn failure(&self, function: &str, call: u64) -> Option<u32> {
        let base = |name: &str| name.trim_end_matches("_v2").to_string();
        let wanted = |f: &&Failure| f.call == call && base(&f.function) == base(function);
        self.fail.iter().find(wanted).map(|f| f.code)
    }
}

fn parse(item: &str) -> Option<Failure> {
    let (function, rest) = item.split_once(':')?;
    let (code, call) = rest.split_once('@')?;
    Some(Failure { function: function.into(), code: code.parse().ok()?, call: call.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_function_code_and_call() {
        let want = Failure { function: "cuLaunchKernel".into(), code: 700, call: 37 };
        assert_eq!(parse("cuLaunchKernel:700@37"), Some(want));
        for wrong in ["cuLaunchKernel", "cuLaunchKernel:700", "cuLaunchKernel:x@1", "a:1@"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
