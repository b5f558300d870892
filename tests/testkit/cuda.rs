//! The CUDA device of the tests, where there is one.

use std::sync::OnceLock;

use engine::cuda::{Cuda, Status, status};

/// The first GPU, opened once for all tests of a program. Without one, or where it is not [`wanted`], prints why and
/// returns `None`.
///
/// Panics under `REQUIRE_CUDA=1` where there is none that can be used.
pub fn launcher() -> Option<Cuda> {
    static FIRST: OnceLock<Option<Cuda>> = OnceLock::new();
    FIRST.get_or_init(open).clone()
}

fn open() -> Option<Cuda> {
    if !wanted("cuda") {
        return None;
    }
    let why = match status() {
        Status::Ready(devices) => {
            println!("cuda: {}", devices[0]);
            return Some(Cuda::open(0).expect("a device that is ready"));
        }
        Status::Absent => "no CUDA device".to_string(),
        Status::Unusable(error) => error.to_string(),
    };
    assert!(std::env::var("REQUIRE_CUDA").as_deref() != Ok("1"), "REQUIRE_CUDA=1, but {why}");
    println!("cuda: skipped: {why}");
    None
}

/// Whether the tests should run on a device: `DEVICES=cuda` or `DEVICES=cpu,emulated` leaves out the others.
pub fn wanted(device: &str) -> bool {
    let wanted = std::env::var("DEVICES").unwrap_or_default();
    wanted.is_empty() || wanted.split(',').any(|name| name == device)
}
