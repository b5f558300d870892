//! Matrix products on cuBLASLt, in the order of the compute stream.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::ffi::c_void;
use std::sync::{Arc, Mutex};

use cudarc::cublaslt::sys as lt;

use super::context::{Context, Handle};
use super::functions::BlasLt;
use super::memory::Memory;
use super::plan::{Found, Key, Kind, Plan};
use super::report::About;
use crate::Result;
use crate::launch::{BlasGemm, Region};

/// cuBLASLt on one device, with the plans of the products that it has seen so far.
#[derive(Debug)]
pub(super) struct Products {
    context: Arc<Context>,
    memory: Memory,
    blas: &'static BlasLt,
    handle: Handle<lt::cublasLtContext>,
    /// One for all products, because they run one after the other in the compute stream.
    workspace: Region,
    /// `None` for a product that it has no algorithm for.
    plans: Mutex<HashMap<Key, Option<Plan>>>,
    /// The kinds of products that it was said of that they were not computed as they should be.
    said: Mutex<HashSet<(Kind, Found)>>,
}

/// The workspace in bytes that NVIDIA advises from compute capability 9 on.
const WORKSPACE_9: usize = 32 << 20;
/// The workspace in bytes that NVIDIA advises for compute capability 8.
const WORKSPACE_8: usize = 8 << 20;

impl Products {
    /// Starts cuBLASLt on a device of compute capability `major`.
    pub(super) fn new(
        context: &Arc<Context>,
        memory: &Memory,
        blas: &'static BlasLt,
        major: u32,
    ) -> Result<Self> {
        context.enter()?;
        let mut products = Products {
            context: context.clone(),
            memory: memory.clone(),
            blas,
            handle: Handle::default(),
            workspace: memory.alloc(if major >= 9 { WORKSPACE_9 } else { WORKSPACE_8 })?,
            plans: Mutex::default(),
            said: Mutex::default(),
        };
        // SAFETY: the call writes a handle.
        unsafe { blas.cublasLtCreate(&mut products.handle.0) }
            .about(|| "cuBLASLt does not start on this device")?;
        Ok(products)
    }

    /// Chooses how a product is computed; false where cuBLASLt has no algorithm for it. The first product of each kind that
    /// does not get the algorithm it should is told on stderr.
    pub(super) fn plan(&self, g: &BlasGemm) -> Result<bool> {
        self.context.enter()?;
        let key = Key::of(g);
        match self.plans.lock().unwrap().entry(key) {
            Entry::Occupied(plan) => Ok(plan.get().is_some()),
            Entry::Vacant(entry) => {
                let (plan, found) = Plan::new(self.blas, self.handle, self.workspace.bytes, &key, g.bias)?;
                if found != Found::AsAsked && self.said.lock().unwrap().insert((key.kind(), found)) {
                    eprintln!(
                        "cuBLASLt has no algorithm for {key}, leading dimensions {:?}{found}",
                        key.ld()
                    );
                }
                Ok(entry.insert(plan).is_some())
            }
        }
    }

    /// Computes a product that has a plan.
    pub(super) fn gemm(&self, g: &BlasGemm) -> Result<()> {
        self.context.enter()?;
        let key = Key::of(g);
        let plans = self.plans.lock().unwrap();
        let plan = plans.get(&key).and_then(Option::as_ref).expect("`plan` made it");
        // The plan is ours until the lock is released, and the bias is read when the product is launched.
        g.bias.map_or(Ok(()), |bias| plan.set_bias(bias)).about(|| key)?;
        let [a, b, c] = [g.a.region, g.b.region, g.c].map(|region| region.at as *mut c_void);
        let [a_layout, b_layout, c_layout] = plan.layouts.map(|layout| layout.0);
        let (alpha, beta) = (1.0f32, g.beta);
        // SAFETY: the addresses are those of matrices of this device that have the sizes of the plan, which `blas::gemm`
        // checked. The two factors are read before this returns. The workspace has at least the size that the algorithm
        // asks for.
        let done = unsafe {
            self.blas.cublasLtMatmul(
                self.handle.0,
                plan.desc.0,
                (&raw const alpha).cast(),
                a,
                a_layout,
                b,
                b_layout,
                (&raw const beta).cast(),
                c,
                c_layout,
                c,
                c_layout,
                &plan.algo,
                self.workspace.at as *mut c_void,
                plan.workspace,
                self.context.compute.0,
            )
        };
        // cuBLASLt only says that it failed. Where the device fell out, the driver says why.
        done.or_else(|error| {
            self.context.synchronize(self.context.compute, || key)?;
            Err(error).about(|| key)
        })
    }

    /// The name of a product in messages and tables.
    pub(super) fn name(g: &BlasGemm) -> String {
        Key::of(g).to_string()
    }
}

impl Drop for Products {
    fn drop(&mut self) {
        self.plans.get_mut().unwrap().clear();
        if !self.handle.0.is_null() && self.context.enter().is_ok() {
            // SAFETY: `new` made the handle.
            let _ = unsafe { self.blas.cublasLtDestroy(self.handle.0) };
        }
        self.memory.free(self.workspace);
    }
}
