//! The named parameters of a model, frozen and trained.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use autograd::{Tape, Var};
use engine::Tensor;
use engine::budget::{self, Claim};

use crate::{Error, Result};

/// Name of the part of a model that the backbone's own parameters belong to.
pub const BACKBONE: &str = "backbone";
/// Name of the part of a model that the head's parameters belong to.
pub const HEAD: &str = "head";

/// Position of a parameter in its [`Params`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ParamId(usize);

/// A parameter by its state-dict name.
#[derive(Debug, Clone)]
pub struct Param {
    /// State-dict name, as published.
    pub name: String,
    /// The part of the model, as tables name it: `backbone`, `head`, or a part that the method adds.
    pub part: &'static str,
    /// Its value.
    pub value: Tensor,
    /// Whether training changes it.
    pub trained: bool,
    /// Whether trained files hold it: what training changes, and what was found before training.
    pub saved: bool,
    /// Smallest and largest value that a training step leaves; values beyond are set to them.
    pub bounds: Option<[f32; 2]>,
}

/// Shapes of tensors by their names.
pub type ByName = BTreeMap<String, Vec<usize>>;

/// All parameters of a model, in a fixed order.
#[derive(Debug, Clone, Default)]
pub struct Params {
    all: Vec<Param>,
    by_name: HashMap<String, usize>,
    /// The file whose tensors will replace values, and their shapes.
    expected: Option<Arc<(PathBuf, ByName)>>,
    /// What was claimed for values, for as long as a clone lives.
    claims: Vec<Arc<Claim>>,
}

impl Params {
    /// Says which file's tensors, of these shapes, will replace values, so that [`room`](Self::room) refuses other shapes.
    pub fn expect(&mut self, file: &Path, shapes: ByName) {
        self.expected = Some(Arc::new((file.into(), shapes)));
    }

    /// Claims memory for a parameter that is to be added, before its value is made, because its size can be what a file
    /// claims.
    ///
    /// # Errors
    /// A shape other than that in the file that is [expected](Self::expect), and a budget that has too little left.
    pub fn room(&mut self, name: &str, shape: &[usize]) -> Result<()> {
        if let Some((file, shapes)) = self.expected.as_deref()
            && let Some(has) = shapes.get(name)
        {
            check_shape(file, name, has, shape)?;
        }
        let bytes = shape.iter().try_fold(4u64, |bytes, &dim| bytes.checked_mul(dim as u64));
        let claim = budget::claim(bytes.unwrap_or(u64::MAX)).map_err(|refused| {
            Error::input(
                format!("{name} {shape:?}"),
                refused.to_string(),
                "choose smaller sizes, or raise it",
            )
        })?;
        self.claims.push(Arc::new(claim));
        Ok(())
    }

    /// Adds a parameter to a part of the model.
    ///
    /// # Panics
    /// Where a parameter of this name is there already.
    pub fn add(
        &mut self,
        part: &'static str,
        name: impl Into<String>,
        value: Tensor,
        trained: bool,
    ) -> ParamId {
        self.push(Param { name: name.into(), part, value, trained, saved: trained, bounds: None })
    }

    /// Adds a parameter that training does not change, with a value that is found in the training images: trained files
    /// hold it, because nothing else does.
    ///
    /// # Panics
    /// Where a parameter of this name is there already.
    pub fn add_found(&mut self, part: &'static str, name: impl Into<String>, value: Tensor) -> ParamId {
        self.push(Param { name: name.into(), part, value, trained: false, saved: true, bounds: None })
    }

    fn push(&mut self, param: Param) -> ParamId {
        let id = self.all.len();
        let before = self.by_name.insert(param.name.clone(), id);
        assert!(before.is_none(), "parameter {} twice", param.name);
        self.all.push(param);
        ParamId(id)
    }

    /// Keeps the values of a trained parameter between these bounds.
    pub fn bound(&mut self, id: ParamId, bounds: [f32; 2]) {
        self.all[id.0].bounds = Some(bounds);
    }

    /// The values that have bounds, with them.
    pub fn bounded_mut(&mut self) -> impl Iterator<Item = (&mut Tensor, [f32; 2])> {
        self.all.iter_mut().filter_map(|p| Some((&mut p.value, p.bounds?)))
    }

    /// Finds a parameter by its state-dict name.
    pub fn id(&self, name: &str) -> Option<ParamId> {
        self.by_name.get(name).copied().map(ParamId)
    }

    /// The value of a parameter.
    pub fn get(&self, id: ParamId) -> &Tensor {
        &self.all[id.0].value
    }

    /// The values of the trained parameters, in order.
    pub fn trained_mut(&mut self) -> impl Iterator<Item = &mut Tensor> {
        self.all.iter_mut().filter(|p| p.trained).map(|p| &mut p.value)
    }

    /// The value of a parameter, to be changed in place.
    pub fn get_mut(&mut self, id: ParamId) -> &mut Tensor {
        &mut self.all[id.0].value
    }

    /// Replaces a value by one of the same shape.
    ///
    /// # Panics
    /// Where the shapes differ.
    pub fn set(&mut self, id: ParamId, value: Tensor) {
        assert_eq!(self.all[id.0].value.shape(), value.shape(), "{}", self.all[id.0].name);
        self.all[id.0].value = value;
    }

    /// The name of a parameter.
    pub fn name(&self, id: ParamId) -> &str {
        &self.all[id.0].name
    }

    /// The part of the model that a parameter belongs to.
    pub fn part(&self, id: ParamId) -> &'static str {
        self.all[id.0].part
    }

    /// Replaces every value by `value(name, value, trained)`, which must keep the shape.
    ///
    /// # Errors
    /// Those of `value`; parameters before the failing one are then replaced already.
    pub fn replace_all(
        &mut self,
        mut value: impl FnMut(&str, &Tensor, bool) -> engine::Result<Tensor>,
    ) -> engine::Result<()> {
        self.all.iter_mut().try_for_each(|p| {
            p.value = value(&p.name, &p.value, p.trained)?;
            Ok(())
        })
    }

    /// Marks the backbone's parameters that `trains` accepts by name as trained, and its others as frozen.
    pub fn train_backbone(&mut self, trains: impl Fn(&str) -> bool) {
        let backbone = self.all.iter_mut().filter(|p| p.part == BACKBONE);
        backbone.for_each(|p| {
            p.trained = trains(&p.name);
            p.saved = p.trained;
        });
    }

    /// The trained parameters, in order.
    pub fn trained(&self) -> Vec<ParamId> {
        (0..self.all.len()).filter(|&i| self.all[i].trained).map(ParamId).collect()
    }

    /// The parameters that trained files hold, in order.
    pub fn saved(&self) -> Vec<ParamId> {
        (0..self.all.len()).filter(|&i| self.all[i].saved).map(ParamId).collect()
    }

    /// Every parameter, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Param> {
        self.all.iter()
    }

    /// Puts the parameters on a tape for one step: trained ones as leaves, frozen ones as constants.
    pub fn bind(&self, tape: &Tape) -> Bound {
        let var =
            |p: &Param| if p.trained { tape.leaf(p.value.clone()) } else { Var::constant(p.value.clone()) };
        Bound { vars: self.all.iter().map(var).collect() }
    }
}

/// Refuses a tensor of a file whose shape is not that in the model.
///
/// # Errors
/// Another shape.
pub(crate) fn check_shape(file: &Path, name: &str, has: &[usize], wanted: &[usize]) -> Result<()> {
    if has == wanted {
        return Ok(());
    }
    let what = format!("{name} has shape {has:?}, the model {wanted:?}");
    Err(Error::path(file, what, "the file belongs to another backbone or setting"))
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
