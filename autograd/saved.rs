//! What a function keeps for its backward pass: a value, or how to make it again.

use std::sync::{Arc, Mutex};

use engine::{Result, Tensor};

type Make = dyn Fn() -> Result<Vec<Tensor>> + Send + Sync;

/// Recomputes the outputs of one recorded call. The first use keeps the result until the last function that
/// saved it is done, so several users cost one recomputation.
pub struct Recipe {
    make: Box<Make>,
    made: Mutex<Option<Vec<Tensor>>>,
}

impl Recipe {
    pub fn new(make: impl Fn() -> Result<Vec<Tensor>> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Recipe { make: Box::new(make), made: Mutex::new(None) })
    }

    fn output(&self, index: usize) -> Result<Tensor> {
        let mut made = self.made.lock().expect("no panic while recomputing");
        if made.is_none() {
            *made = Some((self.make)()?);
        }
        Ok(made.as_ref().expect("just made")[index].clone())
    }
}

/// A tensor a function needs again in its backward pass.
#[derive(Clone)]
pub enum Saved {
    Value(Tensor),
    Recomputed(Arc<Recipe>, usize),
}

impl Saved {
    pub fn get(&self) -> Result<Tensor> {
        match self {
            Saved::Value(tensor) => Ok(tensor.clone()),
            Saved::Recomputed(recipe, index) => recipe.output(*index),
        }
    }
}
