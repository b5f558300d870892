//! One value for each of the 32 lanes of a warp, and loops over the lanes.

/// One value for each lane of a warp.
pub(crate) type Lanes<T> = [T; 32];

/// A mask with every lane set.
pub(crate) const ALL_LANES: u32 = u32::MAX;

/// Fills every lane with `f(lane)`. Plain loops: `array::from_fn` and `map` are not always inlined, and then the
/// compiler does not vectorise them.
#[inline(always)]
pub(crate) fn lanes<T: Copy + Default>(mut f: impl FnMut(usize) -> T) -> Lanes<T> {
    let mut out = [T::default(); 32];
    for l in 0..32 {
        out[l] = f(l);
    }
    out
}

/// Applies `f` to every lane.
#[inline(always)]
pub(crate) fn map<A: Copy, B: Copy + Default>(a: &Lanes<A>, f: impl Fn(A) -> B) -> Lanes<B> {
    lanes(|l| f(a[l]))
}

/// Applies `f` to every pair of lanes.
#[inline(always)]
pub(crate) fn zip<A: Copy, B: Copy, C: Copy + Default>(
    a: &Lanes<A>,
    b: &Lanes<B>,
    f: impl Fn(A, B) -> C,
) -> Lanes<C> {
    lanes(|l| f(a[l], b[l]))
}

/// Calls `f` for each lane of `mask`, lowest first.
#[inline(always)]
pub(crate) fn each_lane(mask: u32, mut f: impl FnMut(usize)) {
    if mask == ALL_LANES {
        (0..32).for_each(f);
    } else {
        set_lanes(mask).for_each(|lane| f(lane as usize));
    }
}

/// The lanes of `mask`, lowest first.
#[inline(always)]
pub(crate) fn set_lanes(mask: u32) -> SetLanes {
    SetLanes(mask)
}

/// See [`set_lanes`]; holds the lanes that are still to come.
#[derive(Clone)]
pub(crate) struct SetLanes(u32);

impl Iterator for SetLanes {
    type Item = u32;

    #[inline(always)]
    fn next(&mut self) -> Option<u32> {
        if self.0 == 0 {
            return None;
        }
        let lane = self.0.trailing_zeros();
        self.0 &= self.0 - 1;
        Some(lane)
    }
}

/// The lanes of `mask` for which `f` holds.
#[inline(always)]
pub(crate) fn lanes_where(mask: u32, mut f: impl FnMut(usize) -> bool) -> u32 {
    let mut out = 0;
    each_lane(mask, |l| out |= u32::from(f(l)) << l);
    out
}
