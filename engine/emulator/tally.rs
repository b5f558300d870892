//! Counts of what one worker executed, by instruction.

use crate::extended::{Shape, What};
use crate::isa::Op;
use crate::meter::{AccessKind, Class, Count, Meter, Traffic};
use crate::program::Program;
use crate::types::Space;

/// Counts of one worker, which are folded into a [`Meter`] at the end of a launch.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    /// One for each instruction of the program.
    pub counts: Vec<Count>,
    pub traffic: Vec<SpaceTraffic>,
    pub barriers: u64,
    pub checks: u64,
}

/// The traffic of one instruction in each space; a generic access can have some in all of them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SpaceTraffic {
    pub global: Traffic,
    pub shared: Traffic,
    pub local: Traffic,
}

impl Tally {
    pub fn new(program: &Program) -> Self {
        Self {
            counts: vec![Count::default(); program.code.len()],
            traffic: vec![SpaceTraffic::default(); program.code.len()],
            barriers: 0,
            checks: 0,
        }
    }

    /// Adds what another worker counted.
    pub fn add(&mut self, other: &Tally) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(sum, &c)| *sum += c);
        for (sum, t) in self.traffic.iter_mut().zip(&other.traffic) {
            sum.global += t.global;
            sum.shared += t.shared;
            sum.local += t.local;
        }
        self.barriers += other.barriers;
        self.checks += other.checks;
    }

    /// Sums the counts by class and by kind of access.
    pub fn meter(&self, program: &Program) -> Meter {
        let mut meter = Meter { barriers: self.barriers, checks: self.checks, ..Meter::default() };
        meter.cover(&program.lines, &self.counts);
        for (((inst, &class), &count), traffic) in
            program.code.iter().zip(&program.classes).zip(&self.counts).zip(&self.traffic)
        {
            *meter.classes.entry(class).or_default() += count;
            let mut add = |space, class, bytes, traffic: Traffic| {
                if traffic.requests > 0 {
                    *meter.accesses.entry(AccessKind { space, class, bytes }).or_default() += traffic;
                }
            };
            match inst.op {
                Op::CopyAsync(copy) => {
                    add(Space::Global, Class::Load, copy.bytes, traffic.global);
                    add(Space::Shared, Class::Store, copy.bytes, traffic.shared);
                }
                Op::Load(a) | Op::Store(a) => {
                    let global = if a.space == Space::Const { Space::Const } else { Space::Global };
                    add(global, class, a.bytes(), traffic.global);
                    add(Space::Shared, class, a.bytes(), traffic.shared);
                    add(Space::Local, class, a.bytes(), traffic.local);
                }
                Op::Extended { index } => match &program.extended[index as usize].what {
                    What::Multiply(product) => {
                        let Shape { m, n, k } = product.shape;
                        // A warp whose lanes come one after the other executes it once, when all are there.
                        let whole = (count.warps - count.partial).min(count.threads / 32);
                        meter.multiply_adds += whole * u64::from(m * n * k);
                    }
                    What::Rows(_) => add(Space::Shared, class, 16, traffic.shared),
                    What::Fragment(a) => {
                        let bytes = a.request_bytes();
                        add(Space::Global, class, bytes, traffic.global);
                        add(Space::Shared, class, bytes, traffic.shared);
                    }
                    What::Transpose { .. } => {}
                },
                Op::Atomic(a) => {
                    add(Space::Global, class, a.ty.bytes(), traffic.global);
                    add(Space::Shared, class, a.ty.bytes(), traffic.shared);
                }
                _ => {}
            }
        }
        meter
    }
}
