//! The memory of devices. Freed memory is kept and handed out again, because a training step asks for the same sizes
//! every time.

#[allow(unsafe_code, reason = "memory is shared out by hand")]
mod cpu;
mod launched;
mod size_class;

pub(crate) use cpu::{CpuBuffer, CpuPool};
pub use launched::Recording;
pub(crate) use launched::{LaunchedBuffer, LaunchedPool};
