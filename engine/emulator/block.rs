//! Blocks: the warps of a block run in turn, each until it waits, and barriers let them go on.

use crate::block_state::{BARRIERS, BlockState};
use crate::clock::Clock;
use crate::divergence::{Behind, is_aligned};
use crate::env::Env;
use crate::exec::Exec;
use crate::fault::{Fault, FaultKind, Stop};
use crate::isa::{BarrierReduce, Op};
use crate::lanes::{ALL_LANES, set_lanes};
use crate::mbarrier::Mbarriers;
use crate::program::{Special, WORKSPACE};
use crate::shared::SharedMemory;
use crate::tally::Tally;
use crate::warp::{Group, Wait, Warp};

/// A fault with the warp and the instruction that it belongs to.
struct WarpStop {
    warp: usize,
    pc: u32,
    stop: Stop,
}

impl WarpStop {
    /// A fault of the first lane of a group.
    fn new(warp: &Warp, group: &Group, kind: FaultKind, detail: String) -> Box<Self> {
        let stop = Stop { kind, lane: group.mask.trailing_zeros(), address: None, detail };
        Box::new(WarpStop { warp: warp.index as usize, pc: group.pc, stop })
    }
}

/// The instructions that a block may execute while all its warps wait for others, before another block comes to turn.
const WAITING_TURN: u64 = 1 << 13;

/// Storage for one block after another; each worker has one, and one more for each block that it set aside.
#[derive(Debug)]
pub(crate) struct Block {
    warps: Vec<Warp>,
    state: BlockState,
    /// The warps in the order of their next turn.
    order: Vec<usize>,
    random: u64,
    /// The instructions of the block when it last did more than wait.
    moved_at: u64,
}

impl Block {
    /// Storage for the blocks of a launch.
    pub fn new(env: &Env) -> Self {
        let warps = env.threads().div_ceil(32);
        let mut all: Vec<Warp> = (0..warps).map(|w| Warp::new(w, &env.program)).collect();
        for warp in &mut all {
            fill_thread_specials(warp, env);
        }
        Self {
            warps: all,
            state: BlockState {
                index: 0,
                ctaid: [0; 3],
                shared: SharedMemory::new(&env.program, env.dynamic_shared, env.checks.shared_races),
                mbarriers: Mbarriers::default(),
                clock: Clock::new(0, warps as usize),
                tally: Tally::default(),
                arrivals: Default::default(),
                printed: Vec::new(),
                executed: 0,
                behind: Behind::new(),
            },
            order: (0..warps as usize).collect(),
            random: 0,
            moved_at: 0,
        }
    }

    /// The bytes that the storage of one block takes, roughly.
    pub fn bytes(env: &Env) -> u64 {
        let program = &env.program;
        let registers = 128 * (program.words + 2 * program.doubles) + 4 * program.preds;
        let warps = env.threads().div_ceil(32);
        let shared = u64::from(program.dynamic_at + env.dynamic_shared);
        u64::from(warps) * u64::from(registers + 37 * program.local_bytes) + 12 * shared
    }

    /// Takes what the last block has printed.
    pub fn take_printed(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.state.printed)
    }

    /// The counts of all blocks that run here. A worker passes its own on to the block that it runs.
    pub fn tally(&mut self) -> &mut Tally {
        &mut self.state.tally
    }

    /// Starts block number `index` of the grid.
    pub fn start(&mut self, env: &Env, index: u32) {
        let [gx, gy, _] = env.grid;
        let ctaid = [index % gx, index / gx % gy, index / gx / gy];
        let threads = env.threads();
        let state = &mut self.state;
        state.index = index;
        state.ctaid = ctaid;
        state.shared.start();
        state.clock = Clock::new(index, self.warps.len());
        state.arrivals = Default::default();
        state.executed = 0;
        for warp in &mut self.warps {
            let here = threads - warp.index * 32;
            warp.start(if here >= 32 { ALL_LANES } else { (1 << here) - 1 });
            for &(special, slot) in &env.program.specials {
                if let Special::Ctaid(axis) = special {
                    warp.registers.words[slot as usize] = [ctaid[axis as usize]; 32];
                }
            }
        }
        state.mbarriers = Mbarriers::default();
        state.mbarriers.cluster.start(self.warps.iter().map(|w| w.lanes).collect());
        self.random = env.options.seed ^ u64::from(index).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.order.sort_unstable();
        self.moved_at = 0;
    }

    /// Runs the block until it ends, or until it has waited for other blocks for a while. Says whether it has ended.
    pub fn go_on(&mut self, env: &Env) -> Result<bool, Fault> {
        loop {
            shuffle(&mut self.order, &mut self.random);
            // Whether every warp that ran may wait for something, and none reached a barrier or the end.
            let mut only_waits = true;
            for &w in &self.order {
                let warp = &mut self.warps[w];
                if warp.ready() {
                    let mut exec = Exec { env, warp, state: &mut self.state, pc: 0 };
                    if let Err(stop) = exec.run() {
                        let pc = exec.pc;
                        return Err(env.fault(self.state.ctaid, w as u32, pc, *stop));
                    }
                    only_waits &= self.warps[w].polls && self.warps[w].ready();
                }
            }
            if self.warps.iter().all(|w| w.live == 0) {
                return Ok(true);
            }
            match self.release(env) {
                Ok(opened) => only_waits &= !opened,
                Err(at) => return Err(env.fault(self.state.ctaid, at.warp as u32, at.pc, at.stop)),
            }
            let executed = self.state.executed;
            if !only_waits {
                self.moved_at = executed;
            } else if executed - self.moved_at >= WAITING_TURN {
                self.moved_at = executed;
                return Ok(false);
            }
        }
    }

    /// Opens the barriers whose threads are all there, when every warp waits, is done or has had its turn. Says whether
    /// there were any.
    fn release(&mut self, env: &Env) -> Result<bool, Box<WarpStop>> {
        let mut opened = false;
        self.warps.iter().filter(|w| !w.ready()).try_for_each(|w| check_warp(w, env))?;
        for id in 0..BARRIERS as u32 {
            let waiting = |warp: &Warp| match warp.groups.first() {
                Some(&Group { wait: Wait::Block { id: at, count }, .. }) if at == id && !warp.ready() => {
                    Some(count)
                }
                _ => None,
            };
            let mut members: Vec<usize> =
                (0..self.warps.len()).filter(|&w| waiting(&self.warps[w]).is_some()).collect();
            let Some(&first) = members.first() else { continue };
            let count = waiting(&self.warps[first]).unwrap_or(0);
            let whole = if count == 0 {
                let live = self.warps.iter().filter(|w| w.live != 0).count();
                members.len() == live
            } else {
                // Warps beyond the count wait for the next turn of the barrier.
                let missing = count.saturating_sub(self.state.arrivals[id as usize].threads).div_ceil(32);
                members.truncate(missing.max(1) as usize);
                members.len() as u32 >= missing
            };
            if whole {
                self.open(env, id, &members, count == 0)?;
                opened = true;
            }
        }
        if opened || self.warps.iter().any(Warp::ready) { Ok(opened) } else { Err(self.stuck()) }
    }

    /// Lets the members of a barrier go on.
    fn open(&mut self, env: &Env, id: u32, members: &[usize], all: bool) -> Result<(), Box<WarpStop>> {
        let gone = self.warps.iter().find(|w| w.live != w.lanes);
        if let (true, true, Some(gone)) = (all, env.checks.early_exits, gone) {
            let lane = (gone.lanes & !gone.live).trailing_zeros();
            let name = thread_name(env, gone, lane);
            let detail = format!("barrier {id} waits for thread {name}, which has left the kernel");
            let first = &self.warps[members[0]];
            let at = WarpStop::new(first, &first.groups[0], FaultKind::ExitBeforeBarrier, detail);
            self.report(env, at)?;
        }
        self.reduce(env, members);
        if all {
            self.state.clock.join_all();
        } else {
            self.state.clock.join_warps(members);
        }
        let arrivals = std::mem::take(&mut self.state.arrivals[id as usize]);
        if arrivals.threads > 0 {
            for &w in members {
                set_lanes(self.warps[w].live)
                    .for_each(|lane| self.state.clock.learn(w, lane, &arrivals.known));
            }
        }
        self.state.tally.barriers += 1;
        for &w in members {
            for group in &mut self.warps[w].groups {
                group.pc += 1;
                group.wait = Wait::Ready;
            }
        }
        Ok(())
    }

    /// Keeps a fault after which the block can go on, while faults are collected.
    fn report(&self, env: &Env, at: Box<WarpStop>) -> Result<(), Box<WarpStop>> {
        let fault = env.fault(self.state.ctaid, at.warp as u32, at.pc, at.stop.clone());
        env.collect(fault).map_err(|_| at)
    }

    /// Reduces the predicates of all members, if the barrier is a `bar.red`.
    fn reduce(&mut self, env: &Env, members: &[usize]) {
        let op = |group: &Group| env.program.code[group.pc as usize].op;
        let (mut ones, mut all) = (0, true);
        for &w in members {
            let warp = &self.warps[w];
            for group in &warp.groups {
                if let Op::BarrierReduce { p, negated, .. } = op(group) {
                    let p = if negated { !warp.registers.pred(p) } else { warp.registers.pred(p) };
                    ones += (p & group.mask).count_ones();
                    all &= group.mask & !p == 0;
                }
            }
        }
        for &w in members {
            let warp = &mut self.warps[w];
            for group in &warp.groups {
                let Op::BarrierReduce { f, d, .. } = op(group) else { continue };
                let registers = &mut warp.registers;
                match f {
                    BarrierReduce::Popc => registers.set_word(d, &[ones; 32], group.mask),
                    BarrierReduce::And => registers.set_pred(d, if all { ALL_LANES } else { 0 }, group.mask),
                    BarrierReduce::Or => {
                        registers.set_pred(d, if ones > 0 { ALL_LANES } else { 0 }, group.mask);
                    }
                }
            }
        }
    }

    /// Says why no barrier can open: names one thread that waits and one that cannot come.
    fn stuck(&self) -> Box<WarpStop> {
        let waits = |w: &&Warp| !w.groups.is_empty();
        let warp = self.warps.iter().find(waits).expect("some warp is not done");
        let group = warp.groups[0];
        let id = if let Wait::Block { id, .. } = group.wait { id } else { 0 };
        let elsewhere = self.warps.iter().find(|w| match w.groups.first() {
            Some(g) => !matches!(g.wait, Wait::Block { id: other, .. } if other == id),
            None => true,
        });
        let detail = match elsewhere {
            Some(other) if other.live == 0 => {
                format!("barrier {id} is never complete: warp {} has left the kernel", other.index)
            }
            Some(other) => format!("barrier {id} is never complete: warp {} waits at another", other.index),
            None => format!("barrier {id} is never complete: the block has fewer threads than its count"),
        };
        WarpStop::new(warp, &group, FaultKind::PartialBarrier, detail)
    }
}

/// The coordinates of a thread, as messages name it.
fn thread_name(env: &Env, warp: &Warp, lane: u32) -> String {
    let [x, y, z] = env.thread(warp.index * 32 + lane);
    format!("({x}, {y}, {z})")
}

/// Checks that a warp that cannot go on waits at one barrier with all its lanes, at one instruction if that is an aligned
/// one.
fn check_warp(warp: &Warp, env: &Env) -> Result<(), Box<WarpStop>> {
    let Some(first) = warp.groups.first() else { return Ok(()) };
    let name = |lanes: u32| thread_name(env, warp, lanes.trailing_zeros());
    if let Some(group) = warp.groups.iter().find(|g| g.wait == Wait::Lanes) {
        let absent = warp.lanes & !group.mask;
        let gone = absent & !warp.live;
        let (kind, detail) = if absent & warp.live == 0 && gone != 0 {
            (
                FaultKind::ExitBeforeBarrier,
                format!("waits for thread {}, which has left the kernel", name(gone)),
            )
        } else {
            let other = name(absent & warp.live);
            (FaultKind::Mask, format!("the mask names thread {other}, which waits elsewhere"))
        };
        return Err(WarpStop::new(warp, group, kind, detail));
    }
    // Threads may come to a barrier at different instructions, where these do not ask for the whole warp.
    let apart = |g: &&Group| g.wait != first.wait || is_aligned(&env.program, g.pc);
    if warp.groups.len() > 1
        && let Some(odd) = warp.groups.iter().find(apart)
    {
        let other = if odd.pc == first.pc { warp.groups[1] } else { *odd };
        let line = env.program.lines[other.pc as usize].line;
        let detail =
            format!("only a part of the warp is here; thread {} waits at line {line}", name(other.mask));
        return Err(WarpStop::new(warp, first, FaultKind::PartialBarrier, detail));
    }
    Ok(())
}

/// Fills the special registers that are the same in every block.
fn fill_thread_specials(warp: &mut Warp, env: &Env) {
    let warps = env.threads().div_ceil(32);
    for &(special, slot) in &env.program.specials {
        let value = |lane: u32| match special {
            Special::Tid(axis) => env.thread(warp.index * 32 + lane)[axis as usize],
            Special::Ntid(axis) => env.block[axis as usize],
            Special::Nctaid(axis) => env.grid[axis as usize],
            Special::LaneId => lane,
            Special::WarpId => warp.index,
            Special::WarpCount => warps,
            Special::LaneMaskEq => 1 << lane,
            Special::LaneMaskLt => (1 << lane) - 1,
            Special::LaneMaskLe => u32::MAX >> (31 - lane),
            Special::LaneMaskGt => !(u32::MAX >> (31 - lane)),
            Special::LaneMaskGe => !((1 << lane) - 1),
            Special::SmCount => 1,
            Special::DynamicShared => env.dynamic_shared,
            Special::TotalShared => env.program.static_shared + env.dynamic_shared,
            Special::GridId => env.number,
            Special::EnvReg(1) => (WORKSPACE >> 32) as u32,
            Special::EnvReg(2) => WORKSPACE as u32,
            Special::SmId | Special::Ctaid(_) | Special::EnvReg(_) => 0,
        };
        let values = std::array::from_fn(|l| value(l as u32));
        warp.registers.words[slot as usize] = values;
    }
}

/// Draws an order of warps.
fn shuffle(order: &mut [usize], random: &mut u64) {
    for k in (1..order.len()).rev() {
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        order.swap(k, (*random >> 33) as usize % (k + 1));
    }
}
