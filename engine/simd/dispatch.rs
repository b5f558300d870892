//! Macros that compile a body for every instruction set and choose one at run time.

/// Defines a function whose body is compiled once for each instruction set; `S` is the set, `s` has its operations. Names
/// after `S` are types of elements, each an [`Element`](crate::Element).
#[macro_export]
macro_rules! simd_fn {
    ($(#[$meta:meta])* $vis:vis fn $name:ident<$S:ident $(, $E:ident)*>($s:ident, $($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name<$($E: $crate::Element),*>($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn generic<$S: $crate::simd::Simd $(, $E: $crate::Element)*>($s: $S, $($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f")]
            fn avx512<$($E: $crate::Element),*>($($arg: $ty),*) $(-> $ret)? {
                generic::<_ $(, $E)*>($crate::simd::Avx512::new(), $($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2<$($E: $crate::Element),*>($($arg: $ty),*) $(-> $ret)? {
                generic::<_ $(, $E)*>($crate::simd::Avx2::new(), $($arg),*)
            }

            match $crate::simd::level() {
                // SAFETY: `level` found the instructions on this machine.
                #[cfg(target_arch = "x86_64")]
                $crate::simd::Level::Avx512 => unsafe { avx512::<$($E),*>($($arg),*) },
                // SAFETY: `level` found the instructions on this machine.
                #[cfg(target_arch = "x86_64")]
                $crate::simd::Level::Avx2 => unsafe { avx2::<$($E),*>($($arg),*) },
                _ => generic::<_ $(, $E)*>($crate::simd::Portable, $($arg),*),
            }
        }
    };
}

/// Runs `$body` for the first element `$i` of every vector in a row of `$len` elements. The body is compiled twice: with
/// `$FULL` true, as [`Simd::read_at`](crate::simd::Simd::read_at) and [`Simd::write_at`](crate::simd::Simd::write_at)
/// take it, and with `$FULL` false for the end of the row.
#[macro_export]
macro_rules! for_vectors {
    ($S:ident, $len:expr, |$i:ident, $FULL:ident| $body:block) => {
        let mut $i = 0;
        while $i + $S::LANES <= $len {
            const $FULL: bool = true;
            $body
            $i += $S::LANES;
        }
        if $i < $len {
            const $FULL: bool = false;
            $body
        }
    };
}
