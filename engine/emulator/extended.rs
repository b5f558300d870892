//! Instructions that need more operands than an [`Op`](crate::isa::Op) holds. `Op::Extended` has the number of one in the
//! list of its program.

use crate::isa::{Address, Logic, Slot, Use};
use crate::types::{RegisterFile, Space};

/// An instruction, and the registers that it reads and writes, reads first.
#[derive(Debug, Clone)]
pub(crate) struct Extended {
    pub what: What,
    pub uses: Vec<(RegisterFile, Slot, Use)>,
}

/// What an instruction does.
#[derive(Debug, Clone)]
pub(crate) enum What {
    /// `mma` and `wmma.mma`.
    Multiply(Multiply),
    /// `wmma.load` and `wmma.store`.
    Fragment(FragmentAccess),
    /// `ldmatrix` and `stmatrix`.
    Rows(RowAccess),
    /// `movmatrix`.
    Transpose { d: Slot, a: Slot },
}

/// The type of the elements of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    F16,
    Bf16,
    Tf32,
    E4m3,
    E5m2,
    F32,
    F64,
    S8,
    U8,
    S4,
    U4,
    B1,
    S32,
}

impl Element {
    /// The type that a modifier names, written without its dot.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "f16" => Self::F16,
            "bf16" => Self::Bf16,
            "tf32" => Self::Tf32,
            "e4m3" => Self::E4m3,
            "e5m2" => Self::E5m2,
            "f32" => Self::F32,
            "f64" => Self::F64,
            "s8" => Self::S8,
            "u8" => Self::U8,
            "s4" => Self::S4,
            "u4" => Self::U4,
            "b1" => Self::B1,
            "s32" => Self::S32,
            _ => return None,
        })
    }

    /// The width of an element in bits.
    pub fn bits(self) -> u32 {
        match self {
            Self::B1 => 1,
            Self::S4 | Self::U4 => 4,
            Self::S8 | Self::U8 | Self::E4m3 | Self::E5m2 => 8,
            Self::F16 | Self::Bf16 => 16,
            Self::Tf32 | Self::F32 | Self::S32 => 32,
            Self::F64 => 64,
        }
    }

    /// The elements in a register.
    pub fn in_register(self) -> u32 {
        (32 / self.bits()).max(1)
    }

    /// The register file that holds the elements.
    pub fn file(self) -> RegisterFile {
        if self == Self::F64 { RegisterFile::Double } else { RegisterFile::Word }
    }
}

/// The sizes of a product: A has `m` rows and `k` columns, B has `k` rows and `n` columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub m: u32,
    pub n: u32,
    pub k: u32,
}

impl Shape {
    /// The shape that a modifier such as `m16n8k16` names.
    pub fn parse(name: &str) -> Option<Self> {
        let (m, rest) = name.strip_prefix('m')?.split_once('n')?;
        let (n, k) = rest.split_once('k')?;
        let number = |text: &str| text.parse::<u32>().ok();
        Some(Self { m: number(m)?, n: number(n)?, k: number(k)? })
    }
}

/// Which matrix a fragment is a part of. C stands for D too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    A,
    B,
    C,
}

/// One of the matrices of a product, spread over the registers of a warp.
///
/// A matrix is cut into tiles of eight rows (of columns, for B) and 16 bytes (32 for f64), one for each register. Lane `l`
/// holds of row `l / 4` what lies from `4 (l % 4)` bytes on. Tiles go down the rows first. The tiles of C have eight columns
/// and two registers, or one that holds pairs of f16: lane `l` has the columns `2 (l % 4)` and the next. For `mma` PTX
/// defines these places, for `wmma` it leaves them open, and they are the same here.
#[derive(Debug, Clone)]
pub(crate) struct Fragment {
    pub role: Role,
    pub shape: Shape,
    pub element: Element,
    /// PTX gives some fragments more registers than they have elements; those at the end repeat the first.
    pub slots: Vec<Slot>,
}

impl Fragment {
    /// The number of rows and of columns of the matrix.
    pub fn size(&self) -> (u32, u32) {
        let Shape { m, n, k } = self.shape;
        match self.role {
            Role::A => (m, k),
            Role::B => (k, n),
            Role::C => (m, n),
        }
    }

    /// The number of registers that hold elements.
    pub fn registers(&self) -> u32 {
        let (rows, columns) = self.size();
        rows * columns / 32 / self.element.in_register()
    }

    /// The row and the column of an element of a lane's register.
    pub fn place(&self, register: u32, lane: u32, element: u32) -> (u32, u32) {
        let each = self.element.in_register();
        let tiles = if self.role == Role::B { self.shape.n / 8 } else { self.shape.m / 8 };
        let along = |tile: u32| (tile / tiles * 4 + lane % 4) * each + element;
        let across = |tile: u32| tile % tiles * 8 + lane / 4;
        match self.role {
            Role::A => (across(register), along(register)),
            Role::B => (along(register), across(register)),
            Role::C => {
                let in_tile = 2 / each;
                let tile = register / in_tile;
                (across(tile), tile / tiles * 8 + lane % 4 * 2 + register % in_tile + element)
            }
        }
    }
}

/// `mma` and `wmma.mma`: D = A B + C.
#[derive(Debug, Clone)]
pub(crate) struct Multiply {
    pub shape: Shape,
    pub a: Fragment,
    pub b: Fragment,
    pub c: Fragment,
    pub d: Fragment,
    /// Sums of whole numbers are clamped instead of wrapping.
    pub saturate: bool,
    /// What joins single bits before they are counted.
    pub logic: Logic,
}

/// `wmma.load` and `wmma.store`.
#[derive(Debug, Clone)]
pub(crate) struct FragmentAccess {
    pub fragment: Fragment,
    pub store: bool,
    pub column_major: bool,
    pub space: Space,
    pub address: Address,
    /// The elements between the starts of rows (of columns); without it, they follow each other.
    pub stride: Option<Slot>,
    /// A register that is used while elements move.
    pub scratch: Slot,
}

impl FragmentAccess {
    /// Whether the elements of a register lie side by side in memory.
    pub fn together(&self) -> bool {
        let fragment = &self.fragment;
        // Registers of B hold a part of a column, all others a part of a row.
        fragment.element.in_register() == 1 || self.column_major == (fragment.role == Role::B)
    }

    /// The bytes of each lane's requests.
    pub fn request_bytes(&self) -> u32 {
        let element = self.fragment.element;
        element.bits() / 8 * if self.together() { element.in_register() } else { 1 }
    }
}

/// `ldmatrix` and `stmatrix`: 8 by 8 elements of 16 bits in each register, whose rows lie where eight lanes say.
#[derive(Debug, Clone)]
pub(crate) struct RowAccess {
    pub store: bool,
    pub transpose: bool,
    pub space: Space,
    pub address: Address,
    pub slots: Vec<Slot>,
}
