//! The state of the process: devices, their contexts, counts of calls, and the log.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::blas::Blas;
use crate::config::Config;
use crate::context::Context;
use crate::status::{Answer, Status};

thread_local! {
    /// [`Context::id`] of the context that is current on this thread; 0 is none.
    static CURRENT: Cell<usize> = const { Cell::new(0) };
}

/// All state, behind one lock, so that calls of several threads come one after another.
#[derive(Debug)]
pub struct Process {
    pub config: Config,
    pub blas: Blas,
    /// Text with which the log line of this call begins.
    pub note: String,
    initialised: bool,
    calls: HashMap<&'static str, u64>,
    log: Option<File>,
    devices: Vec<Device>,
    contexts: usize,
}

/// A device and its primary context.
#[derive(Debug, Default)]
struct Device {
    retained: usize,
    context: Option<Context>,
}

pub fn process() -> MutexGuard<'static, Process> {
    static PROCESS: OnceLock<Mutex<Process>> = OnceLock::new();
    let process = PROCESS.get_or_init(|| Mutex::new(Process::new(Config::from_environment())));
    process.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Process {
    fn new(config: Config) -> Self {
        let open = |path: &String| {
            let file = OpenOptions::new().create(true).append(true).open(path);
            file.unwrap_or_else(|why| panic!("FAKE_CUDA_LOG={path}: {why}"))
        };
        Process {
            blas: Blas::default(),
            note: String::new(),
            initialised: false,
            calls: HashMap::new(),
            log: config.log.as_ref().map(open),
            devices: (0..config.devices).map(|_| Device::default()).collect(),
            contexts: 0,
            config,
        }
    }

    /// Counts a call, and fails it where the environment asks for that.
    pub fn admit(&mut self, name: &'static str) -> Answer {
        let count = self.calls.entry(name).or_default();
        *count += 1;
        let Some(code) = self.config.failure(name, *count).filter(|&code| code != 0) else { return Ok(()) };
        let status = Status(code);
        if name.starts_with("cu") && !name.starts_with("cublas") && status.is_sticky() {
            let text = format!("{name}: failed as FAKE_CUDA_FAIL asked");
            if let Some(context) = self.current() {
                context.break_with(status, text);
            }
        }
        Err(status)
    }

    /// Writes faults and a line to the log.
    pub fn log(&mut self, line: impl FnOnce() -> String) {
        let contexts = self.devices.iter_mut().filter_map(|device| device.context.as_mut());
        let faults: Vec<_> = contexts.flat_map(|context| context.faults.drain(..)).collect();
        if let Some(log) = &mut self.log {
            let mut text: String = faults.iter().map(|fault| format!("fault: {fault}\n")).collect();
            text += &line();
            text.push('\n');
            log.write_all(text.as_bytes()).expect("FAKE_CUDA_LOG can be written");
        }
    }

    pub fn initialise(&mut self) -> Answer {
        if self.devices.is_empty() {
            return Err(Status::NO_DEVICE);
        }
        self.initialised = true;
        Ok(())
    }

    /// Checks that `cuInit` was called.
    pub fn initialised(&mut self) -> Answer<&mut Self> {
        if self.initialised { Ok(self) } else { Err(Status::NOT_INITIALIZED) }
    }

    /// Checks that a device exists.
    pub fn device(&mut self, ordinal: i32) -> Answer<&mut Self> {
        let there = usize::try_from(ordinal).is_ok_and(|n| n < self.devices.len());
        let process = self.initialised()?;
        if there { Ok(process) } else { Err(Status::INVALID_DEVICE) }
    }

    /// Makes or keeps the primary context of a device.
    pub fn retain(&mut self, ordinal: i32) -> Answer<usize> {
        self.device(ordinal)?;
        let device = &mut self.devices[ordinal as usize];
        if device.context.is_none() {
            self.contexts += 1;
            device.context = Some(Context::new(0xC000 + self.contexts, &self.config));
        }
        device.retained += 1;
        Ok(device.context.as_ref().expect("made above").id)
    }

    /// Releases the primary context. The last release runs the work that is left and ends the context.
    pub fn release(&mut self, ordinal: i32) -> Answer {
        self.device(ordinal)?;
        let device = &mut self.devices[ordinal as usize];
        device.retained = device.retained.checked_sub(1).ok_or(Status::INVALID_CONTEXT)?;
        if device.retained > 0 {
            return Ok(());
        }
        let mut context = device.context.take().expect("retained until now");
        let done = context.finish_all();
        let left = context.left();
        let faults = std::mem::take(&mut context.faults);
        self.log(|| {
            let faults: String = faults.iter().map(|fault| format!("fault: {fault}\n")).collect();
            format!("{faults}context {ordinal} ends, never given back: {left}")
        });
        done
    }

    pub fn make_current(&mut self, id: usize) -> Answer {
        self.initialised()?;
        if id != 0 && !self.devices.iter().flat_map(|d| &d.context).any(|c| c.id == id) {
            return Err(Status::INVALID_CONTEXT);
        }
        CURRENT.set(id);
        Ok(())
    }

    fn current(&mut self) -> Option<&mut Context> {
        let contexts = self.devices.iter_mut().filter_map(|device| device.context.as_mut());
        contexts.into_iter().find(|context| context.id == CURRENT.get())
    }

    /// The context that is current on this thread, unless it is broken.
    pub fn context(&mut self) -> Answer<&mut Context> {
        let context = self.initialised()?.current().ok_or(Status::INVALID_CONTEXT)?;
        context.whole()?;
        Ok(context)
    }
}
