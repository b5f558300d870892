//! How long work is watched while it goes on.

/// Is told that long work begins: on what, and on how many of these. What it returns is called for each that is done, by
/// any thread, and dropped when the work is over.
pub type Watch<'a> = &'a dyn Fn(&str, usize) -> Box<dyn Fn() + Sync>;

/// A [`Watch`] that nobody keeps.
pub fn unwatched(_: &str, _: usize) -> Box<dyn Fn() + Sync> {
    Box::new(|| {})
}
