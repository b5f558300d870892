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
    /// From this turn on nothing is kept, because of what came before it.
    full: Option<u32>,
}

impl Printed {
    /// Adds what a block has printed since the last time, and drops what comes too late to be kept.
    pub fn add(&self, turn: u32, text: &[u8]) {
        if text.is_empty() {
            return;
        }
        let mut parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if parts.full.is_some_and(|full| turn >= full) {
            return;
        }
        let kept = parts.by_turn.entry(turn).or_default();
        let text = &text[..text.len().min((MOST_TEXT + 1).saturating_sub(kept.len()))];
        kept.extend_from_slice(text);
        parts.bytes += text.len();
        // One byte more than is kept shows later that something was dropped.
        while let Some((turn, last)) = parts.by_turn.last_key_value().map(|(&turn, text)| (turn, text.len()))
            && parts.bytes - last > MOST_TEXT
        {
            parts.by_turn.pop_last();
            parts.bytes -= last;
            parts.full = Some(turn);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_print_in_parts_and_no_more_is_kept_than_is_shown() {
        let printed = Printed::default();
        for (turn, text) in [(2, "c"), (0, "a"), (2, "d"), (1, "b"), (0, "A")] {
            printed.add(turn, text.as_bytes());
        }
        assert_eq!(printed.up_to(1), b"aAb");

        let printed = Printed::default();
        let large = vec![b'x'; MOST_TEXT / 2];
        (0..50).for_each(|k| printed.add(5 + k % 2, &large));
        let held = printed.0.lock().unwrap().by_turn.values().map(Vec::len).sum::<usize>();
        assert!(held <= 2 * MOST_TEXT + 2, "{held}");
        // What is dropped of a turn does not come back in part, and earlier turns still have room.
        printed.add(0, b"first");
        printed.add(6, b"late");
        let text = printed.up_to(u32::MAX);
        assert!(text.starts_with(b"firstx") && text.ends_with(b"x") && text.len() > MOST_TEXT);
    }
}
