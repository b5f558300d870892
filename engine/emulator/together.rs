//! What the lanes of a warp do together: shuffles, votes, matches, reductions and warp barriers.

use crate::exec::Exec;
use crate::fault::{FaultKind, Run, Stop};
use crate::integer::combine32;
use crate::isa::{Op, ShuffleMode, Slot, VoteMode};
use crate::lanes::{ALL_LANES, each_lane, lanes_where};

impl Exec<'_, '_> {
    /// Executes for the lanes of `ready`; lanes with the same mask form a group.
    pub(crate) fn together(&mut self, op: &Op, ready: u32) -> Run<()> {
        let (Op::Shuffle { mask, .. }
        | Op::Vote { mask, .. }
        | Op::Match { mask, .. }
        | Op::Redux { mask, .. }
        | Op::WarpBarrier { mask }) = *op
        else {
            unreachable!("called for these only")
        };
        let masks = *self.warp.registers.word(mask);
        let mut rest = ready;
        while rest != 0 {
            let wanted = masks[rest.trailing_zeros() as usize];
            let members = lanes_where(rest, |l| masks[l] == wanted);
            rest &= !members;
            self.members(op, members)?;
        }
        Ok(())
    }

    /// Executes for one group of lanes.
    fn members(&mut self, op: &Op, m: u32) -> Run<()> {
        let r = &mut self.warp.registers;
        match *op {
            Op::Shuffle { mode, d, p, a, lane, clamp, .. } => {
                self.shuffle(mode, d, p, (a, lane, clamp), m)?
            }
            Op::Vote { f, d, p, negated, .. } => {
                let p = if negated { !r.pred(p) } else { r.pred(p) } & m;
                let yes = match f {
                    VoteMode::Ballot => {
                        r.set_word(d, &[p; 32], m);
                        return Ok(());
                    }
                    VoteMode::All => p == m,
                    VoteMode::Any => p != 0,
                    VoteMode::Uni => p == m || p == 0,
                };
                r.set_pred(d, if yes { ALL_LANES } else { 0 }, m);
            }
            Op::Match { all, ty, d, p, a, .. } => {
                let values: [u64; 32] = if ty.bits() == 64 { *r.double(a) } else { r.word(a).map(u64::from) };
                let mut same = [0; 32];
                each_lane(m, |l| {
                    same[l] = lanes_where(m, |k| values[l] == values[k]);
                });
                if all {
                    let agree = same[m.trailing_zeros() as usize] == m;
                    r.set_word(d, &[if agree { m } else { 0 }; 32], m);
                    if let Some(p) = p {
                        r.set_pred(p, if agree { ALL_LANES } else { 0 }, m);
                    }
                } else {
                    r.set_word(d, &same, m);
                }
            }
            Op::Redux { f, signed, d, a, .. } => {
                let values = *r.word(a);
                let mut sum = None;
                each_lane(m, |l| {
                    sum = Some(sum.map_or(values[l], |s| combine32(f, signed, s, values[l])));
                });
                r.set_word(d, &[sum.unwrap_or(0); 32], m);
            }
            _ => self.state.clock.join_lanes(self.warp.index as usize, m, self.warp.live),
        }
        Ok(())
    }

    /// Moves `a` between lanes; `p` tells whether the lane that was asked for is in the segment.
    fn shuffle(
        &mut self,
        mode: ShuffleMode,
        d: Slot,
        p: Option<Slot>,
        (a, lane, clamp): (Slot, Slot, Slot),
        m: u32,
    ) -> Run<()> {
        let r = &self.warp.registers;
        let (a, lane, clamp) = (*r.word(a), *r.word(lane), *r.word(clamp));
        let mut v = a;
        let mut inside = 0;
        let mut absent = None;
        each_lane(m, |l| {
            // PTX packs two numbers: bits 8 to 12 are the segment mask, bits 0 to 4 the clamp.
            let (segment, c) = (clamp[l] >> 8 & 31, clamp[l] & 31);
            let b = lane[l] & 31;
            let first = l as u32 & segment;
            let last = first | c & !segment;
            let (source, ok) = match mode {
                // For `up`, the clamp is the lowest lane of the segment.
                ShuffleMode::Up => ((l as u32).wrapping_sub(b), l as u32 >= b + last),
                ShuffleMode::Down => (l as u32 + b, l as u32 + b <= last),
                ShuffleMode::Bfly => (l as u32 ^ b, l as u32 ^ b <= last),
                ShuffleMode::Idx => (first | b & !segment, first | b & !segment <= last),
            };
            let source = if ok { source } else { l as u32 };
            if m >> source & 1 == 0 {
                absent = Some((l as u32, source));
            }
            v[l] = a[source as usize & 31];
            inside |= u32::from(ok) << l;
        });
        if let (Some((lane, source)), true) = (absent, self.env.checks.masks) {
            let detail = format!("takes the value of lane {source}, which is not in the mask");
            self.report(Stop { kind: FaultKind::Mask, lane, address: None, detail })?;
        }
        let r = &mut self.warp.registers;
        r.set_word(d, &v, m);
        if let Some(p) = p {
            r.set_pred(p, inside, m);
        }
        Ok(())
    }
}
