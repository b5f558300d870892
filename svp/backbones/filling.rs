//! Fills a backbone's parameters from a checkpoint, in any family.

use engine::Tensor;

use super::family::{Backbone, Loaded, own_head};
use crate::Result;
use crate::checkpoint::{Checkpoint, hash_tensors};
use crate::params::Params;

/// The values of a checkpoint on their way into a backbone.
pub(super) struct Filling<'a> {
    file: &'a Checkpoint,
    /// Values of what the checkpoint lacks.
    drawn: Params,
    /// Shape of the stored position embedding, which a backbone for another image size resizes.
    pos_embed: Vec<usize>,
    /// Every value as it is stored.
    originals: Vec<(String, Tensor)>,
}

impl<'a> Filling<'a> {
    /// From a checkpoint whose position embedding has `rows` rows of `width` channels.
    pub fn new(file: &'a Checkpoint, drawn: Params, [rows, width]: [usize; 2]) -> Self {
        Filling { file, drawn, pos_embed: vec![1, rows, width], originals: vec![] }
    }

    /// The value of a tensor of the backbone of this shape; the position embedding has the shape that is stored. Values
    /// are those of the file in memory where they can be.
    ///
    /// # Errors
    /// Values that cannot be read.
    pub fn value(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let wanted = if name == "pos_embed" { &self.pos_embed } else { shape };
        let value = match self.file.entries().get(name).filter(|entry| entry.shape() == wanted) {
            Some(_) => self.file.tensor(name)?,
            None => {
                let drawn = self.drawn.id(name).expect("a missing key is only let through with values drawn");
                self.drawn.get(drawn).clone()
            }
        };
        self.originals.push((name.to_string(), value.clone()));
        Ok(value)
    }

    /// The backbone of `width` channels that was filled, with what the checkpoint has beside it.
    ///
    /// # Errors
    /// A head that cannot be read.
    pub fn loaded(
        self,
        backbone: Box<dyn Backbone>,
        params: Params,
        width: usize,
        notes: Vec<String>,
    ) -> Result<Loaded> {
        let hash = hash_tensors(self.originals.iter().map(|(name, value)| (name.as_str(), value)));
        let (head, files) = (own_head(self.file, width)?, self.file.files().to_vec());
        Ok(Loaded { backbone, params, head, hash, files, notes })
    }
}
