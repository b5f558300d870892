//! The budget of memory. It is one of the whole process, so this test has a process of its own.

use engine::budget::{Refused, claim, left, limit_to, most};
use engine::{Device, Error, Tensor, or_out_of_memory};

#[test]
fn claims_and_tensors_are_counted_until_they_are_dropped() {
    let before = most();
    assert!(before > 64 << 20, "{before}");
    limit_to(1 << 30);
    let mut first = claim(600 << 20).unwrap();
    let refused = claim(600 << 20).unwrap_err();
    assert_eq!(refused, Refused { asked: 600 << 20, left: 424 << 20, most: 1 << 30 });
    assert_eq!(refused.to_string(), "needs 600 MiB of memory, 424 of 1024 MiB are left (--max-memory)");
    assert!(first.grow(u64::MAX).is_err());
    first.grow(424 << 20).unwrap();
    assert!(claim(1).is_err());
    drop(first);
    assert!(claim(1 << 30).is_ok());

    // Tensors of the CPU count too: those in use, and what the pool keeps for the next ones.
    limit_to(64 << 20);
    let device = Device::cpu();
    let take = |mib: usize| or_out_of_memory(|| Ok::<_, Error>(Tensor::empty(&device, &[mib << 18])));
    let held = take(40).unwrap();
    assert_eq!(left(), 24 << 20);
    let refused = take(32).unwrap_err().to_string();
    assert_eq!(refused, "cpu device: out of memory: 32 MiB more asked for, 24 of 64 MiB free");
    drop(held);
    assert_eq!(left(), 24 << 20);
    let other = take(64).unwrap();
    drop(other);
    device.trim();
    assert_eq!(left(), 64 << 20);
}
