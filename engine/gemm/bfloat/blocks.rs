//! A product in tiles: blocks of rows of C are tasks, which go through the panels of B.
//!
//! A panel is packed by the first task that needs it. In a block the panels are taken one after another, of a panel a part
//! of at most [`DEPTH`] along k, which comes from the second-level cache while the strips of the block pass by. Sums between
//! two parts stay in f32. A sum is one chain along k wherever it is cut, so neither blocks nor threads change it.

use std::cell::{Cell, UnsafeCell};
use std::sync::Once;

use half::bf16;
use rayon::prelude::*;

use super::super::{Mat, Options};
use super::pack::{LANES, Line, ROWS, pack_columns, pack_rows};
use super::stored::Stored;
use super::tile::{End, Tile, VECTORS, tile};

/// Most elements along k of a part of a panel: 72 KiB of a second-level cache of 1 MiB. Shorter parts, that stay in the
/// first level, were no faster.
const DEPTH: usize = 768;
/// Most bytes of the rows of A in a block: less than half of a second-level cache of 1 MiB.
const BLOCK: usize = 384 << 10;
/// Fewest strips of a block, where threads would want more blocks: a panel is loaded for that many tiles.
const FEWEST: usize = 4;
/// Products below which a second thread costs more than it saves.
const ALONE: usize = 1 << 20;

thread_local! {
    /// Memory that is kept from call to call, since new memory costs more than packing: of B, of a block of A, and sums.
    static KEPT: [Cell<Vec<Line>>; 3] = const { [const { Cell::new(vec![]) }; 3] };
}

/// Runs `work` with some lines whose content is arbitrary. Another call on this thread before it ends gets others.
fn with_lines<R>(which: usize, count: usize, work: impl FnOnce(&mut [Line]) -> R) -> R {
    KEPT.with(|kept| {
        let mut lines = kept[which].take();
        if lines.len() < count {
            lines.resize(count, Line::ZERO);
        }
        let result = work(&mut lines[..count]);
        kept[which].set(lines);
        result
    })
}

/// How the columns of B are cut into panels.
#[derive(Clone, Copy)]
pub struct Panels {
    /// The vectors of all.
    vectors: usize,
    /// Panels of [`VECTORS`] vectors; those after them have fewer.
    full: usize,
    /// The panels.
    pub count: usize,
}

/// A panel: its first vector, and its vectors.
#[derive(Clone, Copy)]
pub struct Panel {
    pub first: usize,
    pub vectors: usize,
}

impl Panels {
    pub fn of(n: usize) -> Self {
        let vectors = n.div_ceil(LANES);
        // A panel of one vector would keep the units waiting for its sums, so where one would be left there are two of two.
        let full = match vectors % VECTORS {
            1 if vectors > 1 => vectors / VECTORS - 1,
            _ => vectors / VECTORS,
        };
        let left = vectors - full * VECTORS;
        Panels { vectors, full, count: full + left.div_ceil(2) }
    }

    pub fn at(self, i: usize) -> Panel {
        if i < self.full {
            return Panel { first: i * VECTORS, vectors: VECTORS };
        }
        let first = self.full * VECTORS + 2 * (i - self.full);
        Panel { first, vectors: (self.vectors - first).min(2) }
    }

    /// Lines of all panels.
    pub fn lines(self, k: usize) -> usize {
        self.vectors * k.div_ceil(2)
    }
}

/// B as the tasks see it: panels that are packed by the first that needs them.
struct Lazy<'a> {
    b: Mat<'a, bf16>,
    lines: &'a [UnsafeCell<Line>],
    done: Vec<Once>,
}

// SAFETY: lines are written only inside the `Once` of their panel, and read only after it.
unsafe impl Sync for Lazy<'_> {}

/// C, of which every task writes its own block.
#[derive(Clone, Copy)]
struct Target<O>(*mut O);

// SAFETY: tasks write different blocks.
unsafe impl<O> Sync for Target<O> {}

struct Job<'a, O> {
    size: [usize; 3],
    a: Mat<'a, bf16>,
    b: Lazy<'a>,
    panels: Panels,
    c: Target<O>,
    ldc: usize,
    options: Options<'a>,
    /// Blocks of rows, and groups of panels.
    blocks: usize,
    groups: usize,
}

/// Computes `c = a b`; the sizes were checked, and the instructions are there.
pub fn product<O: Stored>(
    size: [usize; 3],
    a: Mat<bf16>,
    b: Mat<bf16>,
    c: &mut [O],
    ldc: usize,
    options: Options,
) {
    let [m, n, k] = size;
    let panels = Panels::of(n);
    let threads = if options.serial || m * n * k <= ALONE { 1 } else { rayon::current_num_threads() };
    let strips = m.div_ceil(ROWS);
    let most = (BLOCK / (2 * ROWS * k.max(1))).max(1);
    let mut blocks = strips.div_ceil(most);
    let mut groups = 1;
    if threads > 1 {
        // More than there are threads, so that one that is held up leaves some to the others.
        let wanted = 8 * threads;
        blocks = blocks.max(wanted.min(strips / FEWEST));
        // Each group packs the rows of its block again.
        let wanted = if is_packed(a, k) { 2 * threads } else { wanted };
        groups = wanted.div_ceil(blocks).min(panels.count.div_ceil(2));
    }
    with_lines(0, panels.lines(k), |lines| {
        let at = lines as *mut [Line] as *const [UnsafeCell<Line>];
        // SAFETY: the cells have the layout of what they hold, which is borrowed for them alone.
        let lines = unsafe { &*at };
        let b = Lazy { b, lines, done: (0..panels.count).map(|_| Once::new()).collect() };
        let c = Target(c.as_mut_ptr());
        let job = Job { size, a, b, panels, c, ldc, options, blocks, groups };
        let tasks = blocks * groups;
        if threads > 1 {
            (0..tasks).into_par_iter().with_max_len(1).for_each(|task| job.run(task));
        } else {
            (0..tasks).for_each(|task| job.run(task));
        }
    });
}

/// Whether tiles cannot read the pairs of A where they are.
fn is_packed(a: Mat<bf16>, k: usize) -> bool {
    a.transposed || k % 2 == 1
}

impl<O: Stored> Job<'_, O> {
    /// The lines of a panel.
    fn panel(&self, i: usize) -> *const Line {
        let (Panel { first, vectors }, [_, n, k]) = (self.panels.at(i), self.size);
        let pairs = k.div_ceil(2);
        let lines = &self.b.lines[first * pairs..][..vectors * pairs];
        self.b.done[i].call_once(|| {
            // SAFETY: no one else touches the lines until this is done; the columns are inside B, and the instructions are
            // there.
            unsafe {
                let to = std::slice::from_raw_parts_mut(lines.as_ptr() as *mut Line, lines.len());
                let cols = (n - first * LANES).min(vectors * LANES);
                pack_columns(self.b.b, k, first * LANES, cols, to);
            }
        });
        lines.as_ptr().cast()
    }

    /// Computes a block of rows for a group of panels.
    fn run(&self, task: usize) {
        let [m, _, k] = self.size;
        let (block, group) = (task / self.groups, task % self.groups);
        let strips = m.div_ceil(ROWS);
        let [first, end] = [block, block + 1].map(|i| (i * strips / self.blocks * ROWS).min(m));
        let rows = end - first;
        if is_packed(self.a, k) {
            let lines = rows.div_ceil(ROWS) * k.div_ceil(2) * ROWS / LANES;
            // A strip may end in the middle of a line.
            with_lines(1, lines + 1, |strips| {
                // SAFETY: the rows are inside A, and the instructions are there.
                unsafe { pack_rows(self.a, k, first, rows, strips) };
                self.columns::<true>(first, rows, strips.as_ptr().cast(), k.div_ceil(2) * 2, group);
            });
        } else {
            let a = self.a.data[(first * self.a.ld).min(self.a.data.len())..].as_ptr();
            self.columns::<false>(first, rows, a, self.a.ld, group);
        }
    }

    /// Computes a block whose rows of A, `lda` apart, start at `a`.
    fn columns<const STRIP: bool>(
        &self,
        first: usize,
        rows: usize,
        a: *const bf16,
        lda: usize,
        group: usize,
    ) {
        let count = self.panels.count;
        let [from, to] = [group, group + 1].map(|i| i * count / self.groups);
        // Threads begin with different panels, so that they pack different ones.
        let turn = first * (to - from) / self.size[0];
        with_lines(2, rows.div_ceil(ROWS) * ROWS * VECTORS, |sums| {
            let sums = sums.as_mut_ptr().cast();
            for i in 0..to - from {
                let i = from + (i + turn) % (to - from);
                // SAFETY: the rows are inside A and C.
                unsafe {
                    match self.panels.at(i).vectors {
                        1 => self.strips::<1, STRIP>(first, rows, a, lda, i, sums),
                        2 => self.strips::<2, STRIP>(first, rows, a, lda, i, sums),
                        _ => self.strips::<VECTORS, STRIP>(first, rows, a, lda, i, sums),
                    }
                }
            }
        });
    }

    /// Computes the tiles of a panel in a block.
    unsafe fn strips<const V: usize, const STRIP: bool>(
        &self,
        first: usize,
        rows: usize,
        a: *const bf16,
        lda: usize,
        panel: usize,
        sums: *mut f32,
    ) {
        let [_, n, k] = self.size;
        let pairs = k.div_ceil(2);
        let parts = k.div_ceil(DEPTH).max(1);
        let b = self.panel(panel);
        let col = self.panels.at(panel).first * LANES;
        let cols = (n - col).min(V * LANES);
        let bias = self.options.bias.map_or(std::ptr::null(), |bias| bias[col..].as_ptr());
        for part in 0..parts {
            let [begin, end] = [part, part + 1].map(|part| part * pairs / parts);
            for i in (0..rows).step_by(ROWS) {
                let at = if STRIP { i * lda + begin * 2 * ROWS } else { i * lda + 2 * begin };
                let c = self.c.0.wrapping_add((first + i) * self.ldc + col);
                let last = part + 1 == parts;
                let end_of_sums = End { c, ldc: self.ldc, bias, accumulate: self.options.accumulate };
                // SAFETY: the caller's promise; the sums have room for every strip of the block.
                unsafe {
                    tile::<O, V, STRIP>(&Tile {
                        pairs: end - begin,
                        rows: (rows - i).min(ROWS),
                        cols,
                        a: a.wrapping_add(at),
                        lda,
                        b: b.add(begin * V),
                        sums: sums.add(i * V * LANES),
                        goes_on: part > 0,
                        end: last.then_some(end_of_sums),
                    });
                }
            }
        }
    }
}
