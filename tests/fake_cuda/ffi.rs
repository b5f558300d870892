//! Pointers as they come from C, and what every call goes through.

use std::ffi::{CStr, c_char, c_uint};
use std::ptr::null;

use crate::process::{Process, process};
use crate::status::{Answer, Status};

/// The place for a result. It is made only by callers of the exported functions, who vouch that it is null or writable.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Out<T>(*mut T);

impl<T> Out<T> {
    pub fn set(self, value: T) -> Answer {
        self.set_nth(0, value)
    }

    /// Writes an element of an array.
    pub fn set_nth(self, n: usize, value: T) -> Answer {
        if self.0.is_null() {
            return Err(Status::INVALID_VALUE);
        }
        // SAFETY: not null, so writable by the word of the caller of the exported function.
        unsafe { self.0.add(n).write_unaligned(value) };
        Ok(())
    }

    /// The address as a number.
    pub fn at(self) -> usize {
        self.0 as usize
    }
}

/// Memory that a call reads. It is made only by callers of the exported functions, who vouch that it is null or
/// readable.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct In<T>(*const T);

impl<T: Copy> In<T> {
    pub fn get(self) -> Answer<T> {
        self.nth(0)
    }

    pub fn nth(self, n: usize) -> Answer<T> {
        if self.0.is_null() {
            return Err(Status::INVALID_VALUE);
        }
        // SAFETY: not null, so readable by the word of the caller of the exported function.
        Ok(unsafe { self.0.add(n).read_unaligned() })
    }

    /// Reads `count` elements.
    pub fn take(self, count: usize) -> Answer<Vec<T>> {
        if self.0.is_null() {
            return Err(Status::INVALID_VALUE);
        }
        let mut values = Vec::<T>::with_capacity(count);
        // SAFETY: not null, so readable by the word of the caller of the exported function; there is room for as many.
        unsafe {
            let bytes = count * size_of::<T>();
            self.0.cast::<u8>().copy_to_nonoverlapping(values.as_mut_ptr().cast::<u8>(), bytes);
            values.set_len(count);
        }
        Ok(values)
    }

    pub fn is_null(self) -> bool {
        self.0.is_null()
    }

    /// The address as a number.
    pub fn at(self) -> usize {
        self.0 as usize
    }
}

impl In<c_char> {
    /// Reads a text that ends with a zero byte.
    pub fn text(self) -> Answer<String> {
        if self.0.is_null() {
            return Err(Status::INVALID_VALUE);
        }
        // SAFETY: not null, so a text by the word of the caller of the exported function.
        Ok(unsafe { CStr::from_ptr(self.0) }.to_string_lossy().into_owned())
    }
}

/// A text for C, or null.
pub fn text_of(text: Option<&'static CStr>) -> *const c_char {
    text.map_or(null(), CStr::as_ptr)
}

/// Counts and logs a call, and makes it unless it was asked to fail.
pub fn answer(
    name: &'static str,
    detail: impl FnOnce() -> String,
    call: impl FnOnce(&mut Process) -> Answer,
) -> c_uint {
    let mut process = process();
    let done = process.admit(name).and_then(|()| call(&mut process));
    let code = done.err().map_or(0, |status| status.0);
    let note = std::mem::take(&mut process.note);
    process.log(|| format!("{name} {note}{} -> {code}", detail()));
    code
}

/// Exports functions that answer with a status. Their arguments are as NVIDIA documents them: handles are numbers here,
/// and enumerations the integers that they are in C.
macro_rules! exports {
    ($($name:ident($($arg:ident: $type:ty),* $(,)?) $text:literal => $body:expr;)*) => {$(
        /// # Safety
        /// Pointers are null or as NVIDIA documents the function of this name.
        #[unsafe(no_mangle)]
        #[allow(non_snake_case)]
        pub unsafe extern "C" fn $name($($arg: $type),*) -> std::ffi::c_uint {
            crate::ffi::answer(stringify!($name), || format!($text), $body)
        }
    )*};
}
pub(crate) use exports;
