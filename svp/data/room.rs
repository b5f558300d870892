//! Memory for reading many pictures at once.

use std::fmt::Display;
use std::sync::{PoisonError, RwLock};

/// Held by whoever reads a picture: shared beside others, and alone by one that needs all the room.
static READING: RwLock<()> = RwLock::new(());

/// Reads a picture beside other threads. If the budget has too little left beside what they take, it is read again, alone.
/// So whether a picture can be read does not depend on what other threads do. `read` must not call this in turn.
///
/// # Errors
/// Those of `read`.
pub(crate) fn beside_others<T, E: Display>(read: impl Fn() -> Result<T, E>) -> Result<T, E> {
    let beside = {
        let _shared = READING.read().unwrap_or_else(PoisonError::into_inner);
        read()
    };
    match beside {
        // What a file says may hold these words too. Then it is read twice for nothing.
        Err(error) if error.to_string().contains("(--max-memory)") => {
            let _alone = READING.write().unwrap_or_else(PoisonError::into_inner);
            read()
        }
        done => done,
    }
}
