//! What a kernel does, as numbers that grow with its sizes.

use ptx_emulator::{Class, Meter, Space};

use crate::sass::UNITS;
use crate::sass::weigh::Weighed;

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

            /// The largest relative difference of a count, and its name. Counts below `floor` do not matter, nor does how
            /// the launch was cut, which is rounded up.
            pub fn distance(&self, other: &Work, floor: f64) -> (f64, &'static str) {
                let mut worst = (0.0, "nothing");
                $(
                    let scale = self.$field.abs().max(other.$field.abs());
                    let error = (self.$field - other.$field).abs() / scale;
                    let cut = ["launches", "blocks", "warps"].contains(&stringify!($field));
                    if scale > floor && !cut && !(error <= worst.0) {
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
    /// Warps that were started.
    warps,
    /// Instructions of threads.
    threads,
    /// Issue slots of special functions, and these functions by thread.
    mufu,
    mufu_threads,
    /// Issue slots of the other kinds of instructions, as `sass::Unit` sorts them.
    fma,
    imad,
    /// Products of 16 x 8 x 16 on tensor cores.
    tensor,
    integer,
    compare,
    shared,
    shuffle,
    global,
    convert,
    moves,
    control,
    /// Cycles for which a warp waits after its own instructions, of all warps, without what memory takes.
    stalls,
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
    /// What a run did; its issue slots are those of PTX instructions that the assembler does not surely remove.
    pub fn of(meter: &Meter) -> Self {
        let sum = |classes: &[Class]| -> f64 { classes.iter().map(|&c| meter.class(c).warps as f64).sum() };
        let divisions = sum(&[Class::FloatDivide]);
        let sectors = |class| meter.traffic(Space::Global, class).sectors as f64;
        let shared = [Class::Load, Class::Store, Class::Atomic].map(|c| meter.traffic(Space::Shared, c));
        Work {
            launches: meter.launches as f64,
            blocks: meter.blocks as f64,
            warps: meter.warps as f64,
            threads: meter.instructions().threads as f64,
            mufu: sum(&[Class::Mufu]) + divisions,
            mufu_threads: (meter.class(Class::Mufu).threads + meter.class(Class::FloatDivide).threads) as f64,
            fma: sum(&[Class::Fma, Class::FloatAdd, Class::FloatMul, Class::Bf16, Class::Double])
                + (DIVISION - 1.0) * divisions,
            imad: sum(&[Class::IntegerMul]),
            tensor: sum(&[Class::Mma]),
            integer: sum(&[Class::Integer]) + INTEGER_DIVISION * sum(&[Class::IntegerDivide]),
            compare: sum(&[Class::Float, Class::Vote]),
            shared: 0.0,
            shuffle: sum(&[Class::Shuffle]),
            global: sum(&[Class::Load, Class::Store, Class::Atomic, Class::Copy, Class::Fence]),
            convert: sum(&[Class::Convert]),
            moves: 0.0,
            control: sum(&[Class::Control, Class::Barrier, Class::Other]),
            stalls: 0.0,
            partial: meter.instructions().partial as f64,
            barriers: meter.barriers as f64,
            read: sectors(Class::Load),
            written: sectors(Class::Store) + 2.0 * sectors(Class::Atomic),
            wavefronts: shared.iter().map(|t| t.wavefronts as f64).sum(),
            ideal: shared.iter().map(|t| t.ideal_wavefronts as f64).sum(),
        }
    }

    /// The same run, with the issue slots of its machine code.
    pub fn in_machine_code(self, code: &Weighed) -> Self {
        let [mufu, fma, imad, tensor, integer, compare, shared, shuffle, global, convert, moves, control] =
            code.kinds(0..code.blocks.len());
        let stalls = code.sum(|one| f64::from(one.stall));
        Work {
            mufu,
            fma,
            imad,
            tensor,
            integer,
            compare,
            shared,
            shuffle,
            global,
            convert,
            moves,
            control,
            stalls,
            ..self
        }
    }

    /// Bytes of global memory that requests touch, as if no cache kept any.
    pub fn bytes(&self) -> f64 {
        32.0 * (self.read + self.written)
    }

    /// Issue slots by kind, in the order of `sass::UNITS`.
    pub fn kinds(&self) -> [f64; UNITS.len()] {
        let Work {
            mufu,
            fma,
            imad,
            tensor,
            integer,
            compare,
            shared,
            shuffle,
            global,
            convert,
            moves,
            control,
            ..
        } = *self;
        [mufu, fma, imad, tensor, integer, compare, shared, shuffle, global, convert, moves, control]
    }

    /// Issue slots.
    pub fn slots(&self) -> f64 {
        self.kinds().iter().sum()
    }

    /// Passes through shared memory for each that is needed, or 1 where there are none.
    pub fn conflicts(&self) -> f64 {
        if self.ideal > 0.0 { self.wavefronts / self.ideal } else { 1.0 }
    }
}
