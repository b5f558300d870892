//! What a function keeps for its backward pass: a value, or a way to make it again.

use std::sync::{Arc, Mutex};

use engine::{Result, Tensor};

type Make = dyn Fn() -> Result<Vec<Tensor>> + Send + Sync;

/// Recomputes the outputs of one recorded call. The first use keeps them until the last function that saved one of them is
/// done, so that several users cost one recomputation.
pub struct Recipe {
    make: Box<Make>,
    made: Mutex<Option<Vec<Tensor>>>,
}

impl Recipe {
    /// A recipe whose `make` returns all outputs of the call, in their order.
    pub fn new(make: impl Fn() -> Result<Vec<Tensor>> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Recipe { make: Box::new(make), made: Mutex::new(None) })
    }

    /// One of the outputs, by its position.
    fn output(&self, index: usize) -> Result<Tensor> {
        let mut made = self.made.lock().expect("no panic while recomputing");
        if made.is_none() {
            *made = Some((self.make)()?);
        }
        Ok(made.as_ref().expect("just made")[index].clone())
    }
}

/// A tensor that a function needs again in its backward pass.
#[derive(Clone)]
pub enum Saved {
    /// The value itself.
    Value(Tensor),
    /// The output of a recipe at this position.
    Recomputed(Arc<Recipe>, usize),
}

impl Saved {
    /// The tensor, recomputed where it was not kept.
    ///
    /// # Errors
    /// Those of the recipe.
    pub fn get(&self) -> Result<Tensor> {
        match self {
            Saved::Value(tensor) => Ok(tensor.clone()),
            Saved::Recomputed(recipe, index) => recipe.output(*index),
        }
    }
}
