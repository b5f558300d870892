//! What a kernel does, as numbers that grow with its sizes.

use ptx_emulator::{Class, Meter, Space};

macro_rules! work {
    ($($(#[$doc:meta])* $field:ident),* $(,)?) => {
        /// What launches did. Instructions are those of warps, where nothing else is said.
        #[derive(Debug, Clone, Copy, Default, PartialEq)]
        pub struct Work {
            $($(#[$doc])* pub $field: f64,)*
        }

        impl Work {
            /// Adds `weight` times another.
            pub fn add(&mut self, weight: f64, other: &Work) {
                $(self.$field += weight * other.$field;)*
            }

            /// The largest relative difference of a count, and its name. Counts below `floor` do not matter.
            pub fn distance(&self, other: &Work, floor: f64) -> (f64, &'static str) {
                let mut worst = (0.0, "nothing");
                $(
                    let scale = self.$field.abs().max(other.$field.abs());
                    let error = (self.$field - other.$field).abs() / scale;
                    if scale > floor && !(error <= worst.0) {
                        worst = (error, stringify!($field));
                    }
                )*
                worst
            }
        }
    };
}

work! {
    launches,
    blocks,
    /// Instructions of threads.
    threads,
    /// Special functions, of warps and of threads.
    mufu,
    mufu_threads,
    /// f32 arithmetic and comparisons.
    float,
    integer,
    convert,
    shuffle,
    /// Loads, stores and all else but moves.
    other,
    /// Register moves, most of which the assembler removes.
    moves,
    /// Instructions that only a part of a warp executed.
    partial,
    barriers,
    /// 32-byte sectors of global memory.
    read,
    written,
    /// Passes through the banks of shared memory, and the fewest possible.
    wavefronts,
    ideal,
}

/// Instructions of an IEEE division or root in f32, one of them a special function.
const DIVISION: f64 = 9.0;
/// Instructions of a division of integers.
const INTEGER_DIVISION: f64 = 20.0;

impl Work {
    pub fn of(meter: &Meter) -> Self {
        let sum = |classes: &[Class]| -> f64 { classes.iter().map(|&c| meter.class(c).warps as f64).sum() };
        let divisions = sum(&[Class::FloatDivide]);
        let sectors = |class| meter.traffic(Space::Global, class).sectors as f64;
        let shared = [Class::Load, Class::Store, Class::Atomic].map(|c| meter.traffic(Space::Shared, c));
        let float = [Class::Fma, Class::FloatAdd, Class::FloatMul, Class::Float, Class::Bf16];
        let other = [Class::Load, Class::Store, Class::Atomic, Class::Copy, Class::Vote, Class::Barrier];
        Work {
            launches: meter.launches as f64,
            blocks: meter.blocks as f64,
            threads: meter.instructions().threads as f64,
            mufu: sum(&[Class::Mufu]) + divisions,
            mufu_threads: (meter.class(Class::Mufu).threads + meter.class(Class::FloatDivide).threads) as f64,
            float: sum(&float) + (DIVISION - 1.0) * divisions,
            integer: sum(&[Class::Integer, Class::IntegerMul])
                + INTEGER_DIVISION * sum(&[Class::IntegerDivide]),
            convert: sum(&[Class::Convert]),
            shuffle: sum(&[Class::Shuffle]),
            other: sum(&other) + sum(&[Class::Control, Class::Fence, Class::Other, Class::Double]),
            moves: sum(&[Class::Move]),
            partial: meter.instructions().partial as f64,
            barriers: meter.barriers as f64,
            read: sectors(Class::Load),
            written: sectors(Class::Store) + 2.0 * sectors(Class::Atomic),
            wavefronts: shared.iter().map(|t| t.wavefronts as f64).sum(),
            ideal: shared.iter().map(|t| t.ideal_wavefronts as f64).sum(),
        }
    }

    /// Bytes of global memory that requests touch, as if no cache kept any.
    pub fn bytes(&self) -> f64 {
        32.0 * (self.read + self.written)
    }

    /// Instructions that take an issue slot.
    pub fn issued(&self) -> f64 {
        self.mufu + self.float + self.integer + self.convert + self.shuffle + self.other
    }

    /// Passes through shared memory for each that is needed, or 1 where there are none.
    pub fn conflicts(&self) -> f64 {
        if self.ideal > 0.0 { self.wavefronts / self.ideal } else { 1.0 }
    }
}
