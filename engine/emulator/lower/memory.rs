//! Loads, stores and asynchronous copies.

use super::builder::{Builder, Lowered};
use super::modifiers::Modifiers;
use super::names::Name;
use crate::isa::{ALL_BYTES, Address, AsyncCopy, MemoryAccess, NO_SLOT, Op, Strength};
use crate::meter::Class;
use crate::syntax::{Instruction, Operand};
use crate::types::{RegisterFile, Space, Type};

impl<'t> Modifiers<'t> {
    /// Takes the number of elements: 1, 2 or 4.
    fn vector(&mut self) -> u32 {
        match (self.takes("v2"), self.takes("v4")) {
            (true, _) => 2,
            (_, true) => 4,
            _ => 1,
        }
    }
}

impl<'t> Builder<'t, '_> {
    /// The address, and its space, which is that of the variable if the operand names one: parameters of calls lie in
    /// local memory.
    pub(super) fn address(&mut self, operand: &Operand<'t>, space: Space) -> Lowered<(Address, Space)> {
        let Operand::Address(name, offset) = operand else { return self.fail("an address is needed here") };
        let Some(name) = name else {
            let base = self.constant(RegisterFile::Double, 0);
            return Ok((Address { base, short: false, offset: *offset }, space));
        };
        match self.lookup(name)? {
            Some(Name::Register(ty, base)) if ty.bits() == 64 => {
                Ok((Address { base, short: false, offset: *offset }, space))
            }
            Some(Name::Register(ty, base))
                if ty.bits() == 32 && !matches!(space, Space::Generic | Space::Global) =>
            {
                Ok((Address { base, short: true, offset: *offset }, space))
            }
            Some(Name::Variable(home)) => {
                let same = home.space == space || space == Space::Param && home.space == Space::Local;
                if !same && space != Space::Generic {
                    return self.fail(format!("`{name}` is a .{} variable", home.space));
                }
                if home.in_frame {
                    let (base, offset) = (self.frame_pointer(), offset.wrapping_add(home.at as i64));
                    return Ok((Address { base, short: false, offset }, home.space));
                }
                let base = self.address_constant(RegisterFile::Double, home, 0)?;
                Ok((Address { base, short: false, offset: *offset }, home.space))
            }
            Some(_) => self.fail(format!("`{name}` cannot be an address")),
            None => self.fail(format!("`{name}` is not declared")),
        }
    }

    /// Lets races be tracked by the width of an access, if it is the narrowest so far.
    pub(super) fn note_granule(&mut self, space: Space, width: u32) {
        let width = width.min(4);
        if matches!(space, Space::Shared | Space::Generic) {
            self.program.shared_granule = self.program.shared_granule.min(width);
        }
        if matches!(space, Space::Global | Space::Generic) {
            self.program.global_granule = self.program.global_granule.min(width);
        }
    }

    /// `ld` and `ldu`
    pub(super) fn load(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let [d, address] = self.operands(i)?;
        let access = self.access(i, m, address, d, true)?;
        self.emit(i, Class::Load, Op::Load(access))
    }

    /// `st`
    pub(super) fn store(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let [address, a] = self.operands(i)?;
        let access = self.access(i, m, address, a, false)?;
        if matches!(access.space, Space::Param | Space::Const) {
            return self.fail(format!("stores to .{} memory are not supported", access.space));
        }
        self.emit(i, Class::Store, Op::Store(access))
    }

    /// A load or store, from its opcode and operands.
    fn access(
        &mut self,
        i: &Instruction<'t>,
        m: &mut Modifiers<'t>,
        address: &Operand<'t>,
        data: &Operand<'t>,
        load: bool,
    ) -> Lowered<MemoryAccess> {
        let space = m.find(Space::parse).unwrap_or(Space::Generic);
        let non_coherent = load && m.takes("nc");
        let order = m.order(Strength::Weak);
        let count = m.vector();
        let ty = self.ty(i, m)?;
        self.done(i, m)?;
        if ty == Type::Pred {
            return self.unsupported(i);
        }
        let (address, space) = self.address(address, space)?;
        let one = std::slice::from_ref(data);
        let elements = match data {
            Operand::Vector(elements) => elements.as_slice(),
            _ => one,
        };
        if elements.len() != count as usize || ty.bytes() * count > 16 {
            return self.fail(format!("`{}` cannot move {} elements", i.opcode, elements.len()));
        }
        let mut registers = [NO_SLOT; 4];
        let mut register_bits = 0;
        for (slot, element) in registers.iter_mut().zip(elements) {
            if load && *element == Operand::Name("_", 0) {
                continue;
            }
            let (has, at) = if load { self.dst_any(element, ty)? } else { self.src_any(element, ty)? };
            let fits = if ty.float() { has.bits() == ty.bits() } else { has.bits() >= ty.bits() };
            if !fits || has == Type::Pred || register_bits != 0 && register_bits != has.bits() {
                return self.fail(format!("`{}` cannot use a register of {} bits", i.opcode, has.bits()));
            }
            register_bits = has.bits();
            *slot = at;
        }
        self.note_granule(space, ty.bytes());
        Ok(MemoryAccess {
            space,
            address,
            width: ty.bytes(),
            count,
            double: register_bits == 64,
            signed: ty.signed(),
            register_bits,
            order,
            non_coherent,
            used: self.used_bytes.filter(|_| load).map_or(ALL_BYTES, |mask| mask as u16),
            registers,
        })
    }

    /// `cp.async.{ca,cg}.shared.global [to], [from], bytes{, source bytes}`, `.commit_group`, `.wait_group n`, `.wait_all`
    pub(super) fn copy(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        if !m.takes("async") {
            return self.unsupported(i);
        }
        if m.takes("commit_group") {
            self.done(i, m)?;
            return self.emit(i, Class::Copy, Op::CopyCommit);
        }
        if m.takes("wait_all") {
            self.done(i, m)?;
            return self.emit(i, Class::Copy, Op::CopyWait { pending: None });
        }
        if m.takes("wait_group") {
            self.done(i, m)?;
            let [Operand::Int(n)] = self.operands(i)? else { return self.unsupported(i) };
            return self.emit(i, Class::Copy, Op::CopyWait { pending: Some(*n as u32) });
        }
        m.skip_hints();
        if !(m.takes("shared") || m.takes("shared::cta")) || !m.takes("global") {
            return self.unsupported(i);
        }
        self.done(i, m)?;
        let (to, from, bytes, source) = match i.operands.as_slice() {
            [to, from, Operand::Int(bytes)] => (to, from, *bytes, None),
            [to, from, Operand::Int(bytes), source] => (to, from, *bytes, Some(source)),
            _ => return self.unsupported(i),
        };
        let wide = i.opcode.contains(".cg");
        if !(bytes == 16 || !wide && matches!(bytes, 4 | 8)) {
            return self.fail(format!("`{}` cannot copy {bytes} bytes", i.opcode));
        }
        let (to, _) = self.address(to, Space::Shared)?;
        let (from, _) = self.address(from, Space::Global)?;
        let source_bytes = source.map(|s| self.src(s, Type::U32)).transpose()?;
        self.emit(i, Class::Copy, Op::CopyAsync(AsyncCopy { to, from, bytes: bytes as u32, source_bytes }))
    }
}
