//! Which checks a launch makes.

/// The checks that [`Options::checks`](crate::Options::checks) turns on, each with its own switch. The default is what
/// every correct kernel passes: all of them except [`Checks::early_exits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checks {
    /// Reads of global, shared and local memory that nothing wrote, and host reads of it.
    pub uninitialised_memory: bool,
    /// Uses of registers that nothing wrote.
    pub uninitialised_registers: bool,
    /// Races in shared memory.
    pub shared_races: bool,
    /// Races in global memory.
    pub global_races: bool,
    /// Loads through the non-coherent cache (`.nc`) of what the launch wrote.
    pub nc_loads: bool,
    /// Lanes that skip a barrier at which others of their warp wait, and run on behind it. Barriers that can never be
    /// complete are always faults.
    pub skipped_barriers: bool,
    /// Threads that have left the kernel before a barrier of the whole block. GPUs since Volta do not wait for them.
    pub early_exits: bool,
    /// Masks of shuffles, votes and warp barriers that name lanes which have left the kernel, and shuffles that take a
    /// value from outside their mask. Masks that do not name the lane itself, or that are never complete, are always faults.
    pub masks: bool,
}

impl Checks {
    /// Every check there is.
    pub const ALL: Self = Self {
        uninitialised_memory: true,
        uninitialised_registers: true,
        shared_races: true,
        global_races: true,
        nc_loads: true,
        skipped_barriers: true,
        early_exits: true,
        masks: true,
    };

    /// No check.
    pub const NONE: Self = Self {
        uninitialised_memory: false,
        uninitialised_registers: false,
        shared_races: false,
        global_races: false,
        nc_loads: false,
        skipped_barriers: false,
        early_exits: false,
        masks: false,
    };

    /// Whether accesses to global memory are noted.
    pub(crate) fn notes_global(self) -> bool {
        self.global_races || self.nc_loads || self.uninitialised_memory
    }

    /// Whether releases and acquires are noted.
    pub(crate) fn races(self) -> bool {
        self.global_races || self.shared_races
    }
}

impl Default for Checks {
    fn default() -> Self {
        Self { early_exits: false, ..Self::ALL }
    }
}
