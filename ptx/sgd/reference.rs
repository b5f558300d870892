//! SGD with momentum in plain loops.

use num_traits::Float;

use super::call::Settings;

/// The new `[p, buffer]` of a tensor that decays by `settings.weight_decay`.
pub fn step<T: Float>(settings: &Settings, p: &[T], g: &[T], buffer: &[T]) -> [Vec<T>; 2] {
    let number = |x: f64| T::from(x).expect("a float");
    let [lr, momentum, decay] = [settings.lr, settings.momentum, settings.weight_decay].map(number);
    let (mut p, mut buffer) = (p.to_vec(), buffer.to_vec());
    for i in 0..p.len() {
        buffer[i] = momentum * buffer[i] + g[i] + decay * p[i];
        p[i] = p[i] - lr * buffer[i];
    }
    [p, buffer]
}
