//! Memory orders, scopes and cache hints.

use super::builder::{Builder, Lowered};
use super::modifiers::Modifiers;
use crate::isa::{MemoryOrder, Op, Scope, Strength};
use crate::meter::Class;
use crate::syntax::Instruction;

/// Cache hints. They change nothing here, because caches are not modelled.
const HINTS: [&str; 15] = [
    "ca",
    "cg",
    "cs",
    "lu",
    "cv",
    "wb",
    "wt",
    "L1::no_allocate",
    "L1::evict_normal",
    "L1::evict_first",
    "L1::evict_last",
    "L1::evict_unchanged",
    "L2::64B",
    "L2::128B",
    "L2::256B",
];

/// The scope that a modifier names. Clusters have one block.
fn scope(name: &str) -> Option<Scope> {
    match name {
        "cta" | "cluster" => Some(Scope::Block),
        "gpu" | "sys" | "gl" => Some(Scope::Device),
        _ => None,
    }
}

impl Modifiers<'_> {
    /// Takes all cache hints.
    pub(super) fn skip_hints(&mut self) {
        for hint in HINTS {
            self.takes(hint);
        }
    }
}

impl<'t> Builder<'t, '_> {
    /// Takes the order and the scope of an access, and its cache hints.
    pub(super) fn order(&self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<MemoryOrder> {
        m.skip_hints();
        let atomic = matches!(m.name, "atom" | "red");
        // `volatile` has the scope of the system and names none.
        let volatile = !atomic && m.takes("volatile");
        let mmio = !atomic && m.takes("mmio");
        let opcode = m.name;
        let strength = m.find(|name| match name {
            "weak" if !atomic && !mmio => Some(Strength::Weak),
            "relaxed" => Some(Strength::Relaxed),
            "acquire" if matches!(opcode, "ld" | "atom") => Some(Strength::Acquire),
            "release" if opcode != "ld" => Some(Strength::Release),
            "acq_rel" if opcode == "atom" => Some(Strength::AcquireRelease),
            _ => None,
        });
        let scope = m.find(scope);
        let strong = strength.is_some_and(|s| s != Strength::Weak);
        if mmio && !strong {
            return self.unsupported(i);
        }
        if volatile && (strength.is_some() || scope.is_some()) || !atomic && strong != scope.is_some() {
            return self.unsupported(i);
        }
        let plain = if volatile || atomic { Strength::Relaxed } else { Strength::Weak };
        Ok(MemoryOrder { strength: strength.unwrap_or(plain), scope: scope.unwrap_or(Scope::Device) })
    }

    /// `membar.{cta,gl,sys}`, `fence{.sc,.acq_rel,.acquire,.release}.{cta,cluster,gpu,sys}`. Fences between proxies order
    /// what is not modelled.
    pub(super) fn fence(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let strength = m.find(|name| match name {
            "acquire" => Some(Strength::Acquire),
            "release" => Some(Strength::Release),
            "sc" | "acq_rel" => Some(Strength::AcquireRelease),
            _ => None,
        });
        let strength = strength.unwrap_or(Strength::AcquireRelease);
        // `Modifiers::legal` knows which of these parts go together.
        let op = if m.takes("proxy") {
            let _ = m.takes("alias") || m.takes("async");
            m.find(|name| matches!(name, "global" | "shared::cta" | "shared::cluster").then_some(()));
            Op::Nop
        } else {
            let initialised = m.takes("mbarrier_init");
            match m.find(scope) {
                Some(_) if initialised => Op::Nop,
                Some(scope) => Op::Fence(MemoryOrder { strength, scope }),
                None => return self.unsupported(i),
            }
        };
        self.done(i, m)?;
        let [] = self.operands(i)?;
        self.emit(i, Class::Fence, op)
    }
}
