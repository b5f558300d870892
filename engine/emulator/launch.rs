//! Launches: blocks are spread over workers, and their counts are gathered.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Mutex, PoisonError};

use crate::args::{Arg, Launch, check_limits, pack};
use crate::env::Env;
use crate::fault::{Fault, FaultKind};
use crate::memory::Machine;
use crate::meter::Meter;
use crate::module::Module;
use crate::output::Printed;
use crate::queue::Queue;
use crate::releases::Published;
use crate::suspicion::Suspicions;
use crate::tally::Tally;

impl Machine {
    /// Runs a kernel of a module to its end, and returns what it executed.
    ///
    /// # Errors
    /// [`FaultKind::Arguments`], [`FaultKind::Limits`] or [`FaultKind::Unsupported`] before anything runs, else the fault
    /// of the first block in the order of the seed that has one, and with
    /// [`Options::collect`](crate::Options::collect) the others that were found in [`Fault::more`]. Memory then holds what
    /// was stored until the launch stopped.
    pub fn launch(
        &self,
        module: &Module,
        kernel: &str,
        launch: Launch,
        args: &[Arg],
    ) -> Result<Meter, Fault> {
        let fault = |kind, detail| Fault {
            kind,
            kernel: Some(kernel.into()),
            location: None,
            address: None,
            detail,
            more: Vec::new(),
        };
        let Some((entry, program)) = module.program(kernel) else {
            return Err(fault(FaultKind::Arguments, format!("{} has no kernel of this name", module.file())));
        };
        if let Some(reason) = &entry.unsupported {
            return Err(fault(FaultKind::Unsupported, reason.to_string()));
        }
        check_limits(entry, launch, self.options.max_shared)
            .map_err(|detail| fault(FaultKind::Limits, detail))?;
        let params = pack(entry, args).map_err(|detail| fault(FaultKind::Arguments, detail))?;
        let views =
            self.views(module, program, args).map_err(|detail| fault(FaultKind::Arguments, detail))?;
        let heap = self.heap_views(program);
        let mut env = Env {
            machine: self,
            kernel,
            program: program.clone(),
            options: self.options,
            checks: self.options.checks(),
            grid: launch.grid,
            block: launch.block,
            dynamic_shared: launch.shared,
            params,
            views,
            published: Published::default(),
            suspicions: Suspicions::default(),
            found: Mutex::default(),
            number: self.launches.fetch_add(1, SeqCst),
            wide_atomics: Mutex::new(()),
            heap,
            printed: Printed::default(),
        };
        let (last, result) = run_blocks(&env);
        self.output.add(&std::mem::take(&mut env.printed).up_to(last));
        result
    }
}

/// Runs the blocks in the order of the seed; each is taken by the next free worker. Returns the turn of the fault too, or the
/// largest number.
fn run_blocks(env: &Env) -> (u32, Result<Meter, Fault>) {
    let blocks: u32 = env.grid.iter().product();
    let threads = if env.options.threads == 0 { rayon::current_num_threads() } else { env.options.threads };
    let workers = threads.min(blocks as usize);
    let queue = Queue::new(env, blocks, workers);
    let tally = Mutex::new(Tally::new(&env.program));
    let work = || {
        let mine = queue.work(env, |turn| order(turn, blocks, env.options.seed));
        tally.lock().unwrap_or_else(PoisonError::into_inner).add(&mine);
    };
    if workers <= 1 {
        work();
    } else {
        rayon::scope(|scope| (0..workers).for_each(|_| scope.spawn(|_| work())));
    }
    let (last, fault) = queue.fault().unzip();
    let last = last.unwrap_or(u32::MAX);
    if let Err(fault) = env.end(fault) {
        return (last, Err(fault));
    }
    let tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut meter = tally.meter(&env.program);
    meter.launches = 1;
    meter.blocks = u64::from(blocks);
    meter.threads = u64::from(blocks) * u64::from(env.threads());
    meter.warps = u64::from(blocks) * u64::from(env.threads().div_ceil(32));
    (u32::MAX, Ok(meter))
}

/// The block of a turn. For seed 0 this is the order of the grid; other seeds walk the grid by a step that shares no factor
/// with the number of blocks.
fn order(turn: u32, blocks: u32, seed: u64) -> u32 {
    if seed == 0 {
        return turn;
    }
    let n = u64::from(blocks);
    let gcd = |mut a: u64, mut b: u64| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let mut step = seed % n;
    while gcd(step, n) != 1 {
        step = (step + 1) % n;
    }
    ((u64::from(turn) * step + seed / 7) % n) as u32
}
