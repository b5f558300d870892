//! Sums and differences that use the carry flag.
//!
//! A GPU subtracts by adding the complement: after a subtraction the flag is set where nothing was borrowed.

use crate::integer::{binary, binary64};
use crate::isa::{Int2, Op};
use crate::lanes::{Lanes, lanes, map};
use crate::registers::Registers;

/// Executes the instructions on the carry flag for the lanes of `m`. Returns false if `op` is none of them.
#[inline(never)]
pub(crate) fn execute(r: &mut Registers, op: &Op, m: u32) -> bool {
    match *op {
        Op::Carry { subtract, ty, read, write, d, a, b } => {
            // Without a flag to read, a difference borrows nothing.
            let set = if read { r.carry } else { u32::from(subtract) * u32::MAX };
            let carry = if ty.bits() == 64 {
                let b = map(r.double(b), |b| if subtract { !b } else { b });
                let (v, carry) = add64(r.double(a), &b, set);
                r.set_double(d, &v, m);
                carry
            } else {
                let b = map(r.word(b), |b| if subtract { !b } else { b });
                let (v, carry) = add(r.word(a), &b, set);
                r.set_word(d, &v, m);
                carry
            };
            note(r, write, carry, m);
        }
        Op::MadCarry { high, ty, read, write, d, a, b, c } => {
            let f = if high { Int2::MulHi } else { Int2::Mul };
            let set = if read { r.carry } else { 0 };
            let carry = if ty.bits() == 64 {
                let p = binary64(f, ty.signed(), r.double(a), r.double(b));
                let (v, carry) = add64(&p, r.double(c), set);
                r.set_double(d, &v, m);
                carry
            } else {
                let p = binary(f, ty, r.word(a), r.word(b));
                let (v, carry) = add(&p, r.word(c), set);
                r.set_word(d, &v, m);
                carry
            };
            note(r, write, carry, m);
        }
        _ => return false,
    }
    true
}

/// Keeps the carry of the lanes of `m` where the instruction writes the flag.
fn note(r: &mut Registers, write: bool, carry: u32, m: u32) {
    if write {
        r.carry = r.carry & !m | carry & m;
    }
}

/// The sums with the flags of `set` added, and the carries out of them.
fn add(a: &Lanes<u32>, b: &Lanes<u32>, set: u32) -> (Lanes<u32>, u32) {
    let mut carry = 0;
    let v = lanes(|l| {
        let x = u64::from(a[l]) + u64::from(b[l]) + u64::from(set >> l & 1);
        carry |= u32::from(x >> 32 != 0) << l;
        x as u32
    });
    (v, carry)
}

/// [`add`] of 64 bits.
fn add64(a: &Lanes<u64>, b: &Lanes<u64>, set: u32) -> (Lanes<u64>, u32) {
    let mut carry = 0;
    let v = lanes(|l| {
        let x = u128::from(a[l]) + u128::from(b[l]) + u128::from(set >> l & 1);
        carry |= u32::from(x >> 64 != 0) << l;
        x as u64
    });
    (v, carry)
}
