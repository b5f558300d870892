//! AdamW in plain loops.

use num_traits::Float;

use super::call::Settings;

/// The new `[p, m, v]` of a tensor that decays by `settings.weight_decay`, at step `number`, counted from 1.
pub fn step<T: Float>(settings: &Settings, number: i32, p: &[T], g: &[T], m: &[T], v: &[T]) -> [Vec<T>; 3] {
    let number_of = |x: f64| T::from(x).expect("a float");
    let [lr, eps, decay] = [settings.lr, settings.eps, settings.weight_decay].map(number_of);
    let [b1, b2] = settings.betas.map(number_of);
    let one = T::one();
    let (mut p, mut m, mut v) = (p.to_vec(), m.to_vec(), v.to_vec());
    for i in 0..p.len() {
        p[i] = p[i] * (one - lr * decay);
        m[i] = b1 * m[i] + (one - b1) * g[i];
        v[i] = b2 * v[i] + (one - b2) * g[i] * g[i];
        let (m_hat, v_hat) = (m[i] / (one - b1.powi(number)), v[i] / (one - b2.powi(number)));
        p[i] = p[i] - lr * m_hat / (v_hat.sqrt() + eps);
    }
    [p, m, v]
}
