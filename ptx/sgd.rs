use engine::{Device, Result, Tensor};
pub const FACTORS: usize = 3;
pub struct Settings {
    pub lr: f64,
    pub momentum: f64,
    pub weight_decay: f64,
}
pub fn factors(s: &Settings) -> [f32; 3] {
    [s.lr as f32, s.momentum as f32, s.weight_decay as f32]
}
pub struct Slot<'a> {
    pub param: &'a mut Tensor,
    pub grad: &'a Tensor,
    pub buffer: &'a mut Tensor,
    pub decay: bool,
}
pub fn step(_d: &Device, _s: &mut [Slot], _f: &Tensor, _h: &Tensor) -> Result<()> {
    todo!()
}
