//! Notes of the calls that tapes record, for counting what a computation does.

use std::cell::RefCell;

use engine::Tensor;

use crate::tape::Var;

/// A call of an op, or its backward pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Noted {
    /// The name of the op.
    pub op: &'static str,
    /// The shape of each input, and whether it wants a gradient.
    pub inputs: Vec<(Vec<usize>, bool)>,
    /// The shape of each output.
    pub outputs: Vec<Vec<usize>>,
    /// Whether it is the backward pass of the call.
    pub backward: bool,
}

thread_local! {
    static NOTES: RefCell<Option<Vec<Noted>>> = const { RefCell::new(None) };
}

/// Runs `work` and returns, beside its result, every call that any tape recorded on this thread meanwhile, and the
/// backward passes that were walked. What a backward pass computes again is not noted.
pub fn noted<T>(work: impl FnOnce() -> T) -> (T, Vec<Noted>) {
    let before = NOTES.replace(Some(vec![]));
    let result = work();
    (result, NOTES.replace(before).unwrap_or_default())
}

/// Notes a call while somebody wants notes, and returns the note for its backward pass.
pub(crate) fn forward(op: &'static str, inputs: &[&Var], outputs: &[Tensor]) -> Option<Noted> {
    NOTES.with_borrow_mut(|notes| {
        let inputs = || inputs.iter().map(|input| (input.shape().to_vec(), input.wants_grad())).collect();
        let outputs = || outputs.iter().map(|output| output.shape().to_vec()).collect();
        notes.as_mut().map(|notes| {
            let note = Noted { op, inputs: inputs(), outputs: outputs(), backward: false };
            notes.push(note.clone());
            Noted { backward: true, ..note }
        })
    })
}

/// Notes the backward pass of a call.
pub(crate) fn backward(note: Option<Noted>) {
    NOTES.with_borrow_mut(|notes| {
        if let (Some(notes), Some(note)) = (notes, note) {
            notes.push(note);
        }
    });
}
