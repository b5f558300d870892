//! One buffer that several tasks write at once, each in places of its own.

use std::marker::PhantomData;

/// A slice of which every task writes other elements: columns of a row-major matrix, which cannot be split as a slice.
pub(crate) struct Disjoint<'a, E = f32> {
    at: *mut E,
    len: usize,
    owner: PhantomData<&'a mut [E]>,
}

// SAFETY: the pointer is used only through `slice`, whose callers keep to places of their own.
unsafe impl<E: Send> Sync for Disjoint<'_, E> {}
// SAFETY: as above; what it points to is borrowed for as long as this lives.
unsafe impl<E: Send> Send for Disjoint<'_, E> {}

impl<'a, E> Disjoint<'a, E> {
    /// Takes the slice over until this is dropped.
    pub fn new(data: &'a mut [E]) -> Self {
        Disjoint { at: data.as_mut_ptr(), len: data.len(), owner: PhantomData }
    }

    /// Elements `at..at + len`. Panics beyond the end of the buffer.
    /// # Safety
    /// No other task may touch these elements while the slice lives, nor may another slice of them live.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn slice(&self, at: usize, len: usize) -> &mut [E] {
        assert!(at + len <= self.len);
        // SAFETY: inside the buffer by the line above; exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.at.add(at), len) }
    }
}
