//! Named parameters, frozen and trained.

use std::collections::HashMap;

use autograd::{Tape, Var};
use engine::Tensor;

/// Position of a parameter in its [`Params`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParamId(usize);

#[derive(Debug, Clone)]
struct Param {
    name: String,
    value: Tensor,
    trained: bool,
}

/// All parameters of a model, in a fixed order, by their state-dict names.
#[derive(Debug, Clone, Default)]
pub struct Params {
    all: Vec<Param>,
    by_name: HashMap<String, usize>,
}

impl Params {
    /// Adds a parameter; its name must be new.
    pub fn add(&mut self, name: impl Into<String>, value: Tensor, trained: bool) -> ParamId {
        let name = name.into();
        let id = self.all.len();
        assert!(self.by_name.insert(name.clone(), id).is_none(), "parameter {name} twice");
        self.all.push(Param { name, value, trained });
        ParamId(id)
    }

    pub fn id(&self, name: &str) -> Option<ParamId> {
        self.by_name.get(name).copied().map(ParamId)
    }

    pub fn get(&self, id: ParamId) -> &Tensor {
        &self.all[id.0].value
    }

    /// The values of the trained parameters, in order.
    pub fn trained_mut(&mut self) -> impl Iterator<Item = &mut Tensor> {
        self.all.iter_mut().filter(|p| p.trained).map(|p| &mut p.value)
    }

    /// Replaces a value by one of the same shape.
    pub fn set(&mut self, id: ParamId, value: Tensor) {
        assert_eq!(self.all[id.0].value.shape(), value.shape(), "{}", self.all[id.0].name);
        self.all[id.0].value = value;
    }

    pub fn name(&self, id: ParamId) -> &str {
        &self.all[id.0].name
    }

    /// Replaces every value by `value(name, value, trained)` of the same shape.
    pub fn replace_all(
        &mut self,
        mut value: impl FnMut(&str, &Tensor, bool) -> engine::Result<Tensor>,
    ) -> engine::Result<()> {
        self.all.iter_mut().try_for_each(|p| {
            p.value = value(&p.name, &p.value, p.trained)?;
            Ok(())
        })
    }

    /// Trains, or freezes, every parameter.
    pub fn train_all(&mut self, trained: bool) {
        self.all.iter_mut().for_each(|p| p.trained = trained);
    }

    /// The trained parameters, in order.
    pub fn trained(&self) -> Vec<ParamId> {
        (0..self.all.len()).filter(|&i| self.all[i].trained).map(ParamId).collect()
    }

    /// Name, value and whether it is trained, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor, bool)> {
        self.all.iter().map(|p| (p.name.as_str(), &p.value, p.trained))
    }

    /// Puts the parameters on a tape for one step: trained ones as leaves.
    pub fn bind(&self, tape: &Tape) -> Bound {
        let var =
            |p: &Param| if p.trained { tape.leaf(p.value.clone()) } else { Var::constant(p.value.clone()) };
        Bound { vars: self.all.iter().map(var).collect() }
    }
}

/// The parameters on a tape.
pub struct Bound {
    vars: Vec<Var>,
}

impl std::ops::Index<ParamId> for Bound {
    type Output = Var;

    fn index(&self, id: ParamId) -> &Var {
        &self.vars[id.0]
    }
}
