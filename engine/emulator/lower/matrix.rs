//! Matrices: `mma`, `wmma`, `ldmatrix`, `stmatrix` and `movmatrix`.

use super::builder::{Builder, Lowered};
use super::modifiers::Modifiers;
use crate::extended::{Element, Extended, Fragment, FragmentAccess, Multiply, Role, RowAccess, Shape, What};
use crate::isa::{Address, Logic, NO_SLOT, Op, Slot, Use};
use crate::meter::Class;
use crate::syntax::{Instruction, Operand};
use crate::types::{RegisterFile, Space, Type};

/// The products of `mma` with elements of this type, as `[m, n, k]`.
fn shapes_of_mma(element: Element) -> &'static [[u32; 3]] {
    match element {
        Element::F16 | Element::Bf16 => &[[16, 8, 8], [16, 8, 16]],
        Element::Tf32 => &[[16, 8, 4], [16, 8, 8]],
        Element::E4m3 | Element::E5m2 => &[[16, 8, 32]],
        Element::S8 | Element::U8 => &[[8, 8, 16], [16, 8, 16], [16, 8, 32]],
        Element::S4 | Element::U4 => &[[8, 8, 32], [16, 8, 32], [16, 8, 64]],
        Element::B1 => &[[8, 8, 128], [16, 8, 128], [16, 8, 256]],
        Element::F64 => &[[8, 8, 4], [16, 8, 4], [16, 8, 8], [16, 8, 16]],
        Element::F32 | Element::S32 => &[],
    }
}

/// The same of `wmma`.
fn shapes_of_wmma(element: Element) -> &'static [[u32; 3]] {
    match element {
        Element::F16 | Element::Bf16 | Element::S8 | Element::U8 => &[[16, 16, 16], [8, 32, 16], [32, 8, 16]],
        Element::Tf32 => &[[16, 16, 8]],
        Element::F64 => &[[8, 8, 4]],
        _ => &[],
    }
}

/// Whether matrices of these types can be multiplied, and be added to and give matrices of those.
fn types_fit(a: Element, b: Element, c: Element, d: Element) -> bool {
    use Element::{Bf16, E4m3, E5m2, F16, F32, F64, S4, S8, S32, Tf32, U4, U8};
    let factors = match a {
        S8 | U8 => matches!(b, S8 | U8),
        S4 | U4 => matches!(b, S4 | U4),
        E4m3 | E5m2 => matches!(b, E4m3 | E5m2),
        _ => a == b,
    };
    let sums = match a {
        F16 => matches!((c, d), (F16 | F32, F16 | F32)),
        Bf16 | Tf32 | E4m3 | E5m2 => (c, d) == (F32, F32),
        F64 => (c, d) == (F64, F64),
        _ => (c, d) == (S32, S32),
    };
    factors && sums
}

impl<'t> Builder<'t, '_> {
    /// Adds an instruction with many operands, and counts steps for them.
    pub(super) fn emit_extended(
        &mut self,
        i: &Instruction<'t>,
        class: Class,
        what: What,
        uses: Vec<(RegisterFile, Slot, Use)>,
    ) -> Lowered<()> {
        self.take(16 + 2 * uses.len())?;
        self.program.extended.push(Extended { what, uses });
        let index = self.program.extended.len() as u32 - 1;
        self.emit(i, class, Op::Extended { index })
    }

    /// The modifiers `.sync.aligned` and the one that names a shape.
    fn aligned_shape(&self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<Shape> {
        match (m.takes("sync"), m.takes("aligned"), m.find(Shape::parse)) {
            (true, true, Some(shape)) => Ok(shape),
            _ => self.unsupported(i),
        }
    }

    /// The registers of a part of a matrix, which the instruction writes with `write`.
    fn fragment(
        &mut self,
        operand: &Operand<'t>,
        role: Role,
        shape: Shape,
        element: Element,
        count: Option<u32>,
        write: bool,
    ) -> Lowered<Fragment> {
        let mut fragment = Fragment { role, shape, element, slots: Vec::new() };
        let count = count.unwrap_or(fragment.registers());
        let ty = if element == Element::F64 { Type::F64 } else { Type::B32 };
        fragment.slots = self.vector(operand, ty, count, write)?;
        Ok(fragment)
    }

    /// The registers `{a, b, ...}` of an operand.
    fn vector(&mut self, operand: &Operand<'t>, ty: Type, count: u32, write: bool) -> Lowered<Vec<Slot>> {
        match operand {
            Operand::Vector(all) if all.len() == count as usize => {
                all.iter().map(|one| if write { self.dst(one, ty) } else { self.src(one, ty) }).collect()
            }
            _ => self.fail(format!("{count} registers in braces are needed here")),
        }
    }

    /// `mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 d, a, b, c`
    pub(super) fn mma(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let shape = self.aligned_shape(i, m)?;
        let layout = |p: &str| (p == "row" || p == "col").then_some(p == "row");
        let layouts = (m.find(layout), m.find(layout));
        let types = [(); 4].map(|()| m.find(Element::parse));
        let [Some(d), Some(a), Some(b), Some(c)] = types else { return self.unsupported(i) };
        let fine = shapes_of_mma(a).contains(&[shape.m, shape.n, shape.k]) && types_fit(a, b, c, d) && c == d;
        if layouts != (Some(true), Some(false)) || !fine {
            return self.unsupported(i);
        }
        self.matrix_product(i, m, shape, [d, a, b, c], false)
    }

    /// `wmma.load wmma.store wmma.mma`
    pub(super) fn wmma(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let store = m.takes("store");
        if store || m.takes("load") {
            return self.fragment_access(i, m, store);
        }
        if !m.takes("mma") {
            return self.unsupported(i);
        }
        let shape = self.aligned_shape(i, m)?;
        let layout = |p: &str| (p == "row" || p == "col").then_some(());
        if m.find(layout).is_none() || m.find(layout).is_none() {
            return self.unsupported(i);
        }
        let types = [(); 4].map(|()| m.find(Element::parse));
        let [d, a, b, c] = match types {
            // Without their types, A and B are f16.
            [Some(d), Some(c), None, None] => [d, Element::F16, Element::F16, c],
            [Some(d), Some(a), Some(b), Some(c)] if a != Element::F16 => [d, a, b, c],
            _ => return self.unsupported(i),
        };
        let fine =
            shapes_of_wmma(a).contains(&[shape.m, shape.n, shape.k]) && types_fit(a, b, c, d) && a == b;
        if !fine {
            return self.unsupported(i);
        }
        self.matrix_product(i, m, shape, [d, a, b, c], true)
    }

    /// A product whose shape and types are known.
    fn matrix_product(
        &mut self,
        i: &Instruction<'t>,
        m: &mut Modifiers<'t>,
        shape: Shape,
        [d, a, b, c]: [Element; 4],
        wmma: bool,
    ) -> Lowered<()> {
        let whole = matches!(a, Element::S8 | Element::U8 | Element::S4 | Element::U4);
        let saturate = whole && m.takes("satfinite");
        if a == Element::F64 {
            m.takes("rn");
        }
        let mut logic = Logic::Xor;
        if a == Element::B1 {
            logic = match (m.takes("and"), m.takes("xor"), m.takes("popc")) {
                (true, false, true) => Logic::And,
                (false, true, true) => Logic::Xor,
                _ => return self.unsupported(i),
            };
        }
        self.done(i, m)?;
        let [to_d, from_a, from_b, from_c] = self.operands(i)?;
        let factor = if wmma && a == Element::F16 { Some(8) } else { None };
        let a = self.fragment(from_a, Role::A, shape, a, factor, false)?;
        let b = self.fragment(from_b, Role::B, shape, b, factor, false)?;
        let c = self.fragment(from_c, Role::C, shape, c, None, false)?;
        let d = self.fragment(to_d, Role::C, shape, d, None, true)?;
        let uses = |f: &Fragment, how| {
            let (file, count) = (f.element.file(), f.registers() as usize);
            f.slots[..count].iter().map(move |&slot| (file, slot, how)).collect::<Vec<_>>()
        };
        let all = [uses(&a, Use::Read), uses(&b, Use::Read), uses(&c, Use::Read), uses(&d, Use::Write)];
        let multiply = Multiply { shape, a, b, c, d, saturate, logic };
        self.emit_extended(i, Class::Mma, What::Multiply(multiply), all.concat())
    }

    /// `wmma.load.a.sync.aligned.row.m16n16k16.shared.f16 {...}, [at], stride` and
    /// `wmma.store.d.sync.aligned.row.m16n16k16.f32 [at], {...}, stride`
    fn fragment_access(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>, store: bool) -> Lowered<()> {
        let role = m.find(|p| match p {
            "a" if !store => Some(Role::A),
            "b" if !store => Some(Role::B),
            "c" if !store => Some(Role::C),
            "d" if store => Some(Role::C),
            _ => None,
        });
        let Some(role) = role else { return self.unsupported(i) };
        let shape = self.aligned_shape(i, m)?;
        let column_major = m.takes("col");
        if !column_major && !m.takes("row") {
            return self.unsupported(i);
        }
        let space = m.find(Space::parse).unwrap_or(Space::Generic);
        let Some(element) = m.find(Element::parse) else { return self.unsupported(i) };
        self.done(i, m)?;
        let size = [shape.m, shape.n, shape.k];
        let fine = match (role, element) {
            (Role::C, Element::F16 | Element::F32 | Element::S32 | Element::F64) => {
                size == [8, 8, 4] && element == Element::F64
                    || size == [16, 16, 8] && element == Element::F32
                    || size[2] == 16
                        && element != Element::F64
                        && shapes_of_wmma(Element::F16).contains(&size)
            }
            (Role::C, _) => false,
            _ => shapes_of_wmma(element).contains(&size),
        };
        if !fine || !matches!(space, Space::Generic | Space::Global | Space::Shared) {
            return self.unsupported(i);
        }
        let (at, data, stride) = match (store, i.operands.as_slice()) {
            (false, [data, at]) | (true, [at, data]) => (at, data, None),
            (false, [data, at, stride]) | (true, [at, data, stride]) => (at, data, Some(stride)),
            _ => return self.fail(format!("`{}` has a wrong number of operands", i.opcode)),
        };
        let count = if role != Role::C && element == Element::F16 { Some(8) } else { None };
        let fragment = self.fragment(data, role, shape, element, count, !store)?;
        let (address, space) = self.address(at, space)?;
        let stride = stride.map(|s| self.src(s, Type::U32)).transpose()?;
        let scratch = self.new_slot(element.file());
        self.note_granule(space, (element.bits() / 8).min(4));
        let mut uses = vec![base(address)];
        uses.extend(stride.map(|s| (RegisterFile::Word, s, Use::Read)));
        let how = if store { Use::Read } else { Use::Write };
        let used = if store { fragment.registers() as usize } else { fragment.slots.len() };
        uses.extend(fragment.slots[..used].iter().map(|&s| (element.file(), s, how)));
        let access = FragmentAccess { fragment, store, column_major, space, address, stride, scratch };
        let class = if store { Class::Store } else { Class::Load };
        self.emit_extended(i, class, What::Fragment(access), uses)
    }

    /// `ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {...}, [at]` and `stmatrix`, whose operands change places
    pub(super) fn rows(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let store = m.name == "stmatrix";
        let count = m.find(|p| match p {
            "x1" => Some(1),
            "x2" => Some(2),
            "x4" => Some(4),
            _ => None,
        });
        let known = m.takes("sync") && m.takes("aligned") && m.takes("m8n8") && m.takes("b16");
        let (true, Some(count)) = (known, count) else { return self.unsupported(i) };
        let transpose = m.takes("trans");
        let space = m.find(Space::parse).unwrap_or(Space::Generic);
        self.done(i, m)?;
        if !matches!(space, Space::Generic | Space::Shared) {
            return self.unsupported(i);
        }
        let [first, second] = self.operands(i)?;
        let (at, data) = if store { (first, second) } else { (second, first) };
        let slots = self.vector(data, Type::B32, count, !store)?;
        let (address, space) = self.address(at, space)?;
        let mut uses = vec![base(address)];
        let how = if store { Use::Read } else { Use::Write };
        uses.extend(slots.iter().map(|&s| (RegisterFile::Word, s, how)));
        let class = if store { Class::Store } else { Class::Load };
        self.emit_extended(i, class, What::Rows(RowAccess { store, transpose, space, address, slots }), uses)
    }

    /// `movmatrix.sync.aligned.m8n8.trans.b16 d, a`
    pub(super) fn transpose(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let known = ["sync", "aligned", "m8n8", "trans", "b16"].iter().all(|p| m.takes(p));
        if !known {
            return self.unsupported(i);
        }
        self.done(i, m)?;
        let [d, a] = self.operands(i)?;
        let a = self.src(a, Type::B32)?;
        let d = self.dst(d, Type::B32)?;
        let uses = vec![(RegisterFile::Word, a, Use::Read), (RegisterFile::Word, d, Use::Write)];
        self.emit_extended(i, Class::Shuffle, What::Transpose { d, a }, uses)
    }
}

/// The register of an address, which is read.
pub(super) fn base(address: Address) -> (RegisterFile, Slot, Use) {
    debug_assert!(address.base != NO_SLOT, "every address has a base");
    (if address.short { RegisterFile::Word } else { RegisterFile::Double }, address.base, Use::Read)
}
