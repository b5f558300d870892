//! The text that kernels print.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::format::MOST_TEXT;

/// What the blocks of a launch have printed, by their turns.
#[derive(Debug, Default)]
pub(crate) struct Printed(Mutex<Parts>);

#[derive(Debug, Default)]
struct Parts {
    by_turn: BTreeMap<u32, Vec<u8>>,
    bytes: usize,
}

impl Printed {
    /// Adds what a block has printed, and drops what comes too late to be kept.
    pub fn add(&self, turn: u32, text: Vec<u8>) {
        if text.is_empty() {
            return;
        }
        let mut parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts.bytes += text.len();
        parts.by_turn.insert(turn, text);
        // One byte more than is kept shows later that something was dropped.
        while let Some(last) = parts.by_turn.last_entry().map(|last| last.get().len())
            && parts.bytes - last > MOST_TEXT
        {
            parts.by_turn.pop_last();
            parts.bytes -= last;
        }
    }

    /// The texts up to a turn, in order.
    pub fn up_to(self, turn: u32) -> Vec<u8> {
        let parts = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        parts.by_turn.into_iter().take_while(|(t, _)| *t <= turn).flat_map(|(_, text)| text).collect()
    }
}

/// The text of a machine's launches that nobody has taken.
#[derive(Debug, Default)]
pub(crate) struct Output(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    text: Vec<u8>,
    /// There was more.
    dropped: bool,
}

impl Output {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what fits.
    pub fn add(&self, text: &[u8]) {
        let mut kept = self.kept();
        let room = MOST_TEXT - kept.text.len();
        kept.dropped |= text.len() > room;
        kept.text.extend_from_slice(&text[..text.len().min(room)]);
    }

    /// Takes all text, with a line at its end where some was dropped.
    pub fn take(&self) -> String {
        let Kept { text, dropped } = std::mem::take(&mut *self.kept());
        let mut text = String::from_utf8_lossy(&text).into_owned();
        if dropped {
            text.push_str(&format!(
                "\n[kernels have printed more than {MOST_TEXT} bytes; the rest is dropped]\n"
            ));
        }
        text
    }
}
