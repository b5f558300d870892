//! What a thread knows of other threads: for each of their blocks, up to which time each thread's accesses come before
//! what it does now.

use std::sync::Arc;

/// The times of a block's threads, as runs of equal times: each ends before a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row(Box<[(u32, u32)]>);

impl Row {
    /// The row of `threads` threads with the time that `time` gives for each.
    pub fn new(threads: u32, mut time: impl FnMut(u32) -> u32) -> Self {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for thread in 0..threads {
            let time = time(thread);
            match runs.last_mut() {
                Some(run) if run.1 == time => run.0 = thread + 1,
                _ => runs.push((thread + 1, time)),
            }
        }
        Self(runs.into())
    }

    /// The time of a thread.
    pub fn time(&self, thread: u32) -> u32 {
        let at = self.0.partition_point(|&(end, _)| end <= thread);
        self.0.get(at).map_or(0, |&(_, time)| time)
    }

    /// Whether nothing is known.
    pub fn is_zero(&self) -> bool {
        self.0.iter().all(|&(_, time)| time == 0)
    }

    /// The later time of each thread.
    fn join(&self, other: &Row) -> Row {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        let (mut a, mut b) = (self.0.iter().peekable(), other.0.iter().peekable());
        while let (Some(&&(x, s)), Some(&&(y, t))) = (a.peek(), b.peek()) {
            let (end, time) = (x.min(y), s.max(t));
            match runs.last_mut() {
                Some(run) if run.1 == time => run.0 = end,
                _ => runs.push((end, time)),
            }
            a.next_if(|run| run.0 == end);
            b.next_if(|run| run.0 == end);
        }
        Row(runs.into())
    }
}

/// A map from blocks to rows that shares its parts with those it was made from: a binary tree over the bits of the number
/// of the block, from the highest on. To keep a copy costs nothing, and to join two costs no more than their difference.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known(Option<Arc<Node>>);

#[derive(Debug)]
enum Node {
    Leaf {
        block: u32,
        row: Row,
    },
    Fork {
        /// The bits above `bit`, which all blocks below have.
        prefix: u32,
        bit: u32,
        low: Arc<Node>,
        high: Arc<Node>,
        /// Those of the parts and its own.
        weight: u64,
    },
}

impl Node {
    /// The first number below, and the bit at which the numbers part, which is 0 for one block.
    fn key(&self) -> (u32, u32) {
        match *self {
            Node::Leaf { block, .. } => (block, 0),
            Node::Fork { prefix, bit, .. } => (prefix, bit),
        }
    }

    /// The memory that the node and those below take, in units of 16 bytes, if they share none with others.
    fn weight(&self) -> u64 {
        match self {
            Node::Leaf { row, .. } => 8 + row.0.len() as u64,
            Node::Fork { weight, .. } => *weight,
        }
    }
}

/// Whether a block belongs below a fork.
fn below(block: u32, prefix: u32, bit: u32) -> bool {
    bit != 0 && block & !(2 * bit - 1) == prefix
}

fn join(a: &Arc<Node>, b: &Arc<Node>) -> Arc<Node> {
    if Arc::ptr_eq(a, b) {
        return a.clone();
    }
    let ((p, k), (q, l)) = (a.key(), b.key());
    let fork = |prefix, bit, low: Arc<Node>, high: Arc<Node>| {
        let weight = low.weight().saturating_add(high.weight()).saturating_add(4);
        Arc::new(Node::Fork { prefix, bit, low, high, weight })
    };
    match (&**a, &**b) {
        (Node::Leaf { block, row }, Node::Leaf { block: other, row: more }) if block == other => {
            let both = row.join(more);
            if both == *row {
                a.clone()
            } else if both == *more {
                b.clone()
            } else {
                Arc::new(Node::Leaf { block: *block, row: both })
            }
        }
        (Node::Fork { low, high, .. }, Node::Fork { low: low2, high: high2, .. }) if (p, k) == (q, l) => {
            let (x, y) = (join(low, low2), join(high, high2));
            if Arc::ptr_eq(&x, low) && Arc::ptr_eq(&y, high) {
                a.clone()
            } else if Arc::ptr_eq(&x, low2) && Arc::ptr_eq(&y, high2) {
                b.clone()
            } else {
                fork(p, k, x, y)
            }
        }
        (Node::Fork { low, high, .. }, _) if k > l && below(q, p, k) => {
            if q & k == 0 {
                let x = join(low, b);
                if Arc::ptr_eq(&x, low) { a.clone() } else { fork(p, k, x, high.clone()) }
            } else {
                let y = join(high, b);
                if Arc::ptr_eq(&y, high) { a.clone() } else { fork(p, k, low.clone(), y) }
            }
        }
        (_, Node::Fork { .. }) if l > k && below(p, q, l) => join(b, a),
        _ => {
            let bit = 1 << (31 - (p ^ q).leading_zeros());
            let (low, high) = if p & bit == 0 { (a, b) } else { (b, a) };
            fork(p & !(2 * bit - 1), bit, low.clone(), high.clone())
        }
    }
}

impl Known {
    /// Knowledge of one block.
    pub fn of(block: u32, row: Row) -> Self {
        Self(Some(Arc::new(Node::Leaf { block, row })))
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The memory that it takes at most, in units of 16 bytes.
    pub fn weight(&self) -> u64 {
        self.0.as_ref().map_or(0, |node| node.weight())
    }

    /// Adds what `other` knows.
    pub fn add(&mut self, other: &Known) {
        match (&self.0, &other.0) {
            (Some(a), Some(b)) => self.0 = Some(join(a, b)),
            (None, _) => *self = other.clone(),
            (_, None) => {}
        }
    }

    /// Up to which time the accesses of a thread are known.
    pub fn time(&self, block: u32, thread: u32) -> u32 {
        let mut at = self.0.as_ref();
        while let Some(node) = at {
            match &**node {
                Node::Leaf { block: here, row } => {
                    return if *here == block { row.time(thread) } else { 0 };
                }
                Node::Fork { bit, low, high, .. } => at = Some(if block & bit == 0 { low } else { high }),
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::{Known, Row};

    #[test]
    fn joined_knowledge_is_the_latest_of_both() {
        // Against plain tables of 40 blocks with 5 threads each.
        let mut random = 1u32;
        let mut draw = |n: u32| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 8) % n
        };
        let mut all = vec![(Known::default(), [[0; 5]; 40]); 6];
        for _ in 0..3000 {
            let (to, from, block) = (draw(6) as usize, draw(6) as usize, draw(40));
            let times: [u32; 5] = std::array::from_fn(|_| draw(50));
            let (known, table) = all[from].clone();
            let (into, sums) = &mut all[to];
            into.add(&known);
            into.add(&Known::of(block, Row::new(5, |t| times[t as usize])));
            for (b, (sum, more)) in sums.iter_mut().zip(table).enumerate() {
                for (t, (sum, more)) in sum.iter_mut().zip(more).enumerate() {
                    *sum = (*sum).max(more).max(if b as u32 == block { times[t] } else { 0 });
                }
            }
            if draw(10) == 0 {
                all[from] = (Known::default(), [[0; 5]; 40]);
            }
            for (known, table) in &all {
                for (b, row) in table.iter().enumerate() {
                    (0..5).for_each(|t| assert_eq!(known.time(b as u32, t), row[t as usize]));
                }
            }
        }
    }
}
