//! Training steps: sending inputs to the device, running, and receiving the result.
//!
//! Nothing in a step waits for the device. Inputs are sent to tensors that keep their addresses, and the loss comes
//! back later with a flag that says whether all was finite; once it was not, the optimiser changes nothing. On a
//! launched device the third step is recorded, and later steps replay it.

use std::collections::HashMap;

use autograd::{Gradients, Tape, Var};
use engine::{Arriving, Device, Recording, Tensor};
use ptx::grad_norm;
use ptx::prompt_rows::dropout_keys;

use crate::backbones::drop_path;
use crate::heads::Moved;
use crate::methods::OptimizerKind;
use crate::model::Model;
use crate::params::Bound;
use crate::pass::Noise;
use crate::train::average::Average;
use crate::train::class_weights::ClassFactors;
use crate::train::feed::FeedBatch;
use crate::train::optim::{HeadRates, Optimizer, Rates};
use crate::{Result, streams};

/// Steps made call by call before one is recorded. By then kernels are loaded and products planned.
const WARM_UP: u64 = 2;

/// What a step depends on besides model and batch.
#[derive(Debug, Clone, Copy)]
pub struct StepSettings {
    /// Batches hold features, so only the head is computed.
    pub features: bool,
    /// The optimiser.
    pub optimizer: OptimizerKind,
    /// Momentum of SGD.
    pub momentum: f64,
    /// Label smoothing: the share of a target that is spread evenly over all classes.
    pub smoothing: f32,
    /// Rate of stochastic depth at the last block.
    pub drop_path: f64,
    /// Seed of stochastic depth and prompt dropout.
    pub seed: u64,
    /// Weight decay of the parameters that decay.
    pub weight_decay: f64,
    /// Rates of the head, where they differ.
    pub head: Option<HeadRates>,
    /// Decay of the moving average of the trained parameters; 0 keeps no average.
    pub ema_decay: f64,
    /// Batches whose mean gradient makes a step.
    pub accumulate: usize,
}

/// The result of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Health {
    /// Mean loss over the step's batches, before the update.
    pub loss: f32,
    /// Euclidean norm of all gradients together.
    pub grad_norm: f32,
    /// Whether the loss and gradients of this step and of all before it were finite. If not, the step changed nothing.
    pub finite: bool,
}

/// A submitted step.
#[derive(Debug)]
pub struct Submitted {
    health: Arriving,
    batches: usize,
}

impl Submitted {
    /// Waits for the step to finish.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn wait(self) -> Result<Health> {
        let health = self.health.wait()?;
        Ok(Health {
            loss: health[grad_norm::LOSS] / self.batches as f32,
            grad_norm: health[grad_norm::NORM],
            finite: health[grad_norm::FINITE] == 1.0,
        })
    }
}

/// Makes training steps of one model, with batches of one size.
pub struct Stepper {
    device: Device,
    settings: StepSettings,
    /// The optimiser with its state.
    pub optimizer: Optimizer,
    /// The moving average, where one is kept.
    pub average: Option<Average>,
    /// Weights of the classes, where they do not weigh alike; `None` in a new stepper.
    pub weights: Option<ClassFactors>,
    inputs: Option<Inputs>,
    health: Tensor,
    /// Loss and gradients of the step's earlier batches.
    gathered: Option<Gathered>,
    recorded: HashMap<Part, Recording>,
    /// Addresses of the tensors that a step changes when the first part was recorded.
    addresses: Vec<u64>,
    steps: u64,
}

/// The place of a batch in its step. The first batch writes gradients, later ones add to them, and the last one
/// updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Part {
    first: bool,
    last: bool,
}

#[derive(Default)]
struct Gathered {
    loss: Option<Tensor>,
    grads: Gradients,
}

/// The inputs of a step, in tensors that keep their addresses.
struct Inputs {
    /// Images `[b 3 s s]`, or features `[b d]`.
    batch: Tensor,
    /// Targets `[b k]`.
    targets: Tensor,
    /// Factors of stochastic depth, `[depth b]`.
    drop_path: Option<Tensor>,
    /// Keys of prompt dropout, `[b 2]`.
    dropout: Option<Tensor>,
    /// Numbers of the prototypes that the images are nearest to, `[b]`, where the batch knows them.
    assignment: Option<Tensor>,
    /// Factors of the optimiser.
    factors: Tensor,
    /// Those of the head, where they differ.
    head_factors: Option<Tensor>,
    /// Gradient of the step's loss with respect to a batch's loss, `[1]`.
    share: Tensor,
}

impl Stepper {
    /// Prepares steps of `model`. Tensors for batches are allocated when the first batch comes.
    pub fn new(model: &Model, settings: StepSettings) -> Self {
        let device = model.device.clone();
        let average = || Average::new(&device, &model.params, settings.ema_decay);
        Stepper {
            settings,
            average: (settings.ema_decay > 0.0).then(average),
            weights: None,
            optimizer: Optimizer::new(settings.optimizer, &device, &model.params, |name, value| {
                settings.optimizer.decays(name, value)
            }),
            inputs: None,
            health: grad_norm::healthy(&device),
            gathered: None,
            recorded: HashMap::new(),
            addresses: vec![],
            steps: 0,
            device,
        }
    }

    /// Starts one update by the mean gradient of `batches`, at learning rate `lr`. `epoch` keys the random numbers.
    ///
    /// # Errors
    /// A fault of the device, or labels that do not fit the head.
    pub fn submit(
        &mut self,
        model: &mut Model,
        batches: &[FeedBatch],
        epoch: u32,
        lr: f64,
    ) -> Result<Submitted> {
        let StepSettings { weight_decay, momentum, head, .. } = self.settings;
        let mut factors = vec![self.optimizer.next_factors(&Rates { lr, weight_decay, momentum })?];
        if let Some(HeadRates { lr_scale, weight_decay }) = head {
            factors.push(self.optimizer.factors_of(&Rates { lr: lr * lr_scale, weight_decay, momentum })?);
        }
        self.steps += 1;
        if self.addresses != addresses(model) {
            self.recorded.clear();
        }
        for (i, batch) in batches.iter().enumerate() {
            self.send(model, batch, epoch, &factors)?;
            self.run(model, Part { first: i == 0, last: i + 1 == batches.len() })?;
        }
        Ok(Submitted { health: self.health.receive()?, batches: batches.len() })
    }

    /// Runs the batches again with every tensor checked, and describes the first one that is not finite.
    pub fn find_fault(&mut self, model: &Model, batches: &[FeedBatch], epoch: u32) -> String {
        let fault = batches.iter().find_map(|batch| self.check(model, batch, epoch).err());
        fault.map_or("no tensor of it is at fault alone".into(), |e| e.to_string())
    }

    /// Computes loss and gradients of a batch with every tensor checked.
    fn check(&mut self, model: &Model, batch: &FeedBatch, epoch: u32) -> Result<()> {
        self.send(model, batch, epoch, &[vec![0.0; self.optimizer.factors()]])?;
        let tape = Tape::new(&self.device).checking_finite();
        let inputs = self.inputs.as_ref().expect("just sent");
        let (loss, bound, _) = inputs.loss(model, &tape, self.settings)?;
        let grads = tape.backward(&loss, inputs.share.clone())?;
        for id in model.params.trained() {
            let at = || format!("the gradient of {}", model.params.name(id));
            grads.get(&bound[id]).map_or(Ok(()), |grad| grad.check_finite(&at()))?;
        }
        Ok(())
    }

    /// Sends a batch to the tensors that a step reads.
    fn send(&mut self, model: &Model, batch: &FeedBatch, epoch: u32, factors: &[Vec<f32>]) -> Result<()> {
        let StepSettings { features, smoothing, drop_path: rate, seed, accumulate, head, .. } = self.settings;
        let (b, classes) = (batch.labels.images(), model.classes());
        let blocks = (model.spec().depth, model.spec().additions);
        let fits = |inputs: &Inputs| {
            inputs.batch.shape() == batch.input.shape()
                && inputs.assignment.is_some() == batch.assignment.is_some()
        };
        if !self.inputs.as_ref().is_some_and(fits) {
            self.recorded.clear();
            let empty = |shape: &[usize]| Tensor::empty(&self.device, shape);
            self.inputs = Some(Inputs {
                batch: empty(batch.input.shape()),
                targets: empty(&[b, classes]),
                drop_path: (!features && rate > 0.0).then(|| empty(&[blocks.0 * blocks.1, b])),
                dropout: (!features && model.method.drops()).then(|| empty(&[b, 2])),
                assignment: batch.assignment.is_some().then(|| empty(&[b])),
                factors: empty(&[self.optimizer.factors()]),
                head_factors: head.map(|_| empty(&[self.optimizer.factors()])),
                share: Tensor::from_slice(&self.device, &[1.0 / accumulate as f32], &[1]),
            });
        }
        let inputs = self.inputs.as_mut().expect("just made");
        inputs.batch.send(batch.input.as_slice())?;
        let mut targets = model.head.targets(&batch.labels, classes, smoothing, batch.own_share)?;
        if let Some(weights) = &self.weights {
            weights.apply(&mut targets, batch.labels.classes());
        }
        inputs.targets.send(&targets)?;
        inputs.factors.send(&factors[0])?;
        if let (Some(to), Some(factors)) = (&mut inputs.head_factors, factors.get(1)) {
            to.send(factors)?;
        }
        if let Some(factors) = &mut inputs.drop_path {
            factors.send(&drop_path::factors(rate, blocks, seed, epoch, &batch.keys)?)?;
        }
        if let (Some(numbers), Some(known)) = (&mut inputs.assignment, &batch.assignment) {
            numbers.send(known)?;
        }
        if let Some(keys) = &mut inputs.dropout {
            keys.send(&dropout_keys(seed, epoch, &batch.keys, streams::PROMPT_DROPOUT))?;
        }
        Ok(())
    }

    /// Runs a part of a step on the inputs that were sent: replays it where it is recorded, and records it once the
    /// stepper is warm.
    fn run(&mut self, model: &mut Model, part: Part) -> Result<()> {
        if let Some(recording) = self.recorded.get(&part) {
            return Ok(recording.run()?);
        }
        if self.steps <= WARM_UP || self.device.launcher().is_none() {
            return self.work(model, part);
        }
        self.addresses = addresses(model);
        let (recording, ()) = self.device.clone().record(|| self.work(model, part))?;
        assert!(self.addresses == addresses(model), "a recorded step moved a trained tensor");
        recording.run()?;
        self.recorded.insert(part, recording);
        Ok(())
    }

    /// Computes loss and gradients and, at the end of a step, makes the update.
    fn work(&mut self, model: &mut Model, part: Part) -> Result<()> {
        let mut gathered = self.gathered.take().filter(|_| !part.first).unwrap_or_default();
        let inputs = self.inputs.as_ref().expect("sent before");
        let tape = Tape::new(&self.device);
        let (loss, bound, moved) = inputs.loss(model, &tape, self.settings)?;
        gathered.grads = tape.backward_onto(&loss, inputs.share.clone(), gathered.grads)?;
        match &mut gathered.loss {
            Some(sum) => sum.add_assign(&self.device, loss.value()),
            None => gathered.loss = Some(loss.into_value()),
        }
        if part.last {
            let (sum, params) = (gathered.loss.as_ref().expect("just set"), &mut model.params);
            let head = inputs.head_factors.as_ref().unwrap_or(&inputs.factors);
            let (grads, factors) = (&gathered.grads, [&inputs.factors, head]);
            self.optimizer.step_apart(&self.device, params, bound, sum, grads, factors, &mut self.health)?;
            if let Some(average) = &mut self.average {
                average.step(&self.device, params, &self.health)?;
            }
        } else {
            drop(bound);
            // Later batches add to these gradients in place.
            gathered.grads.unshare(&self.device);
        }
        model.follow(&moved, &self.health)?;
        // The recorded parts of a step meet in these tensors, so they must keep their addresses.
        self.gathered = (part != Part { first: true, last: true }).then_some(gathered);
        Ok(())
    }
}

impl Inputs {
    /// The loss `[1]` of the inputs that were sent, the parameters on the tape, and what the step moves without a gradient.
    fn loss(&self, model: &Model, tape: &Tape, settings: StepSettings) -> Result<(Var, Bound, Vec<Moved>)> {
        if settings.features {
            let (logits, bound) = model.classify(tape, self.batch.clone())?;
            return Ok((model.head.loss(tape, &logits.values, &self.targets)?, bound, logits.moved));
        }
        let noise = Noise { drop_path: self.drop_path.as_ref(), dropout: self.dropout.as_ref() };
        let forward = model.forward_assigned(tape, self.batch.clone(), noise, self.assignment.clone())?;
        let loss = model.loss(tape, &forward, &self.targets)?;
        Ok((loss, forward.bound, forward.moved))
    }
}

/// Addresses on a launched device of the tensors that a step changes, and of those that were found before training.
fn addresses(model: &Model) -> Vec<u64> {
    if model.device.launcher().is_none() {
        return vec![];
    }
    model.params.saved().into_iter().map(|id| model.params.get(id).region().at).collect()
}

#[cfg(test)]
mod tests;
