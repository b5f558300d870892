use autograd::{Tape, Var};
use engine::{Result, Tensor};
pub fn dropout_keys(_s: u64, _e: u32, _x: &[u32], _st: u32) -> Vec<f32> {
    todo!()
}
pub struct Dropout<'a> {
    pub keys: &'a Tensor,
    pub rate: f32,
    pub stream: u32,
}
pub struct Prompts<'a> {
    pub values: &'a Var,
    pub entry: usize,
    pub dropout: Option<Dropout<'a>>,
}
pub fn insert(_t: &Tape, _x: &Var, _p: &Prompts, _r: &[usize]) -> Result<Var> {
    todo!()
}
pub fn replace(_t: &Tape, _x: &Var, _p: Option<&Prompts>, _r: &[usize]) -> Result<Var> {
    todo!()
}
