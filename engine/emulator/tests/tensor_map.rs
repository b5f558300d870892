//! Copies of boxes of tensors, whose places in memory are computed here element by element.

use ptx_emulator::{Access, Arg, Fault, FaultKind, Launch, Machine, Module, Swizzle, TensorMap};

/// What a box moves between: a tensor of 16-bit elements, which holds its own indices.
struct Case {
    sizes: Vec<u32>,
    box_sizes: Vec<u32>,
    corner: Vec<i32>,
    swizzle: Swizzle,
}

impl Case {
    fn box_bytes(&self) -> u32 {
        2 * self.box_sizes.iter().product::<u32>()
    }

    /// The strides in bytes, with 16 bytes or more of room after each row.
    fn strides(&self) -> Vec<u64> {
        let mut all = vec![u64::from((2 * self.sizes[0] + 16).next_multiple_of(16))];
        for &size in &self.sizes[1..] {
            all.push(all[all.len() - 1] * u64::from(size));
        }
        all
    }

    fn map(&self, address: u64) -> TensorMap {
        let mut strides = self.strides();
        strides.pop();
        TensorMap {
            address,
            element: 2,
            sizes: self.sizes.clone(),
            strides,
            box_sizes: self.box_sizes.clone(),
            swizzle: self.swizzle,
        }
    }

    /// For each element of the box, its byte in shared memory and in the tensor's; none outside of the tensor.
    fn places(&self) -> Vec<(usize, Option<usize>)> {
        let strides = self.strides();
        let count: u32 = self.box_sizes.iter().product();
        (0..count)
            .map(|n| {
                let (mut rest, mut at, mut inside) = (n, 0, true);
                for k in 0..self.sizes.len() {
                    let index = self.corner[k] + (rest % self.box_sizes[k]) as i32;
                    rest /= self.box_sizes[k];
                    inside &= index >= 0 && index < self.sizes[k] as i32;
                    let step = if k == 0 { 2 } else { strides[k - 1] as i64 };
                    at += i64::from(index) * step;
                }
                let byte = 2 * n as usize;
                let (part, line) = (byte / 16, byte / 128);
                let part = match self.swizzle {
                    Swizzle::None => part,
                    Swizzle::Bytes32 => part ^ (line % 2),
                    Swizzle::Bytes64 => part ^ (line % 4),
                    Swizzle::Bytes128 => part ^ (line % 8),
                };
                (16 * part + byte % 16, inside.then_some(at as usize))
            })
            .collect()
    }

    /// A kernel of one warp. `param` says where the map is.
    fn kernel(&self, store: bool, param: bool) -> String {
        let (n, bytes) = (self.sizes.len(), self.box_bytes());
        let corner: Vec<String> = self.corner.iter().map(i32::to_string).collect();
        let tensor = format!("[%rd1, {{{}}}]", corner.join(", "));
        let copies = |op: &str| {
            (0..bytes.div_ceil(128)).map(|k| op.replace('#', &(128 * k).to_string())).collect::<String>()
        };
        let work = if store {
            format!(
                "{}fence.proxy.async.shared::cta;\nbar.sync 0;
@%p0 cp.async.bulk.tensor.{n}d.global.shared::cta.tile.bulk_group {tensor}, [s];
@%p0 cp.async.bulk.commit_group;\n@%p0 cp.async.bulk.wait_group.read 0;\n",
                copies("ld.global.b32 %r3, [%rd3+#];\nst.shared.b32 [%r2+#], %r3;\n")
            )
        } else {
            format!(
                "@%p0 mbarrier.init.shared.b64 [b], 1;\nbar.sync 0;
@%p0 mbarrier.arrive.expect_tx.shared.b64 _, [b], {bytes};
@%p0 cp.async.bulk.tensor.{n}d.shared::cluster.global.mbarrier::complete_tx::bytes [s], {tensor}, [b];
W: mbarrier.try_wait.parity.shared.b64 %p1, [b], 0;\n@!%p1 bra W;\n{}",
                copies("ld.shared.b32 %r3, [%r2+#];\nst.global.b32 [%rd3+#], %r3;\n")
            )
        };
        let map: Vec<String> = (0..if param { 16 } else { 1 }).map(|k| format!(".param .u64 m{k}")).collect();
        let load = if param { "mov.u64 %rd1, m0;" } else { "ld.param.u64 %rd1, [m0];" };
        format!(
            ".version 8.4\n.target sm_90\n.address_size 64\n.visible .entry k({}, .param .u64 box)\n{{
.reg .pred %p<4>;\n.reg .b32 %r<9>;\n.reg .b64 %rd<9>;\n.shared .align 1024 .b8 s[{bytes}];\n.shared .align 8 .b8 b[8];
mov.u32 %r0, %tid.x;\nsetp.eq.u32 %p0, %r0, 0;\nshl.b32 %r1, %r0, 2;\nmov.u32 %r2, s;\nadd.u32 %r2, %r2, %r1;
{load}\nld.param.u64 %rd2, [box];\nmad.wide.u32 %rd3, %r0, 4, %rd2;\n{work}ret;\n}}\n",
            map.join(", ")
        )
    }

    /// Runs the kernel on these bytes of the tensor and of the box, and returns both.
    fn run(
        &self,
        store: bool,
        param: bool,
        tensor: &[u8],
        of_box: &[u8],
    ) -> Result<(Vec<u8>, Vec<u8>), Fault> {
        let machine = Machine::new();
        let upload = |bytes: &[u8]| {
            let at = machine.alloc(bytes.len());
            machine.write(at, bytes).map(|()| at)
        };
        let (at, dump) = (upload(tensor)?, upload(of_box)?);
        let map = self.map(at).bytes().unwrap();
        let access = if store { Access::ReadWrite } else { Access::Read };
        let mut args = vec![Arg::Reached { at, bytes: tensor.len(), access }];
        if param {
            args.extend(map.chunks_exact(8).map(|b| Arg::U64(u64::from_le_bytes(b.try_into().unwrap()))));
        } else {
            args.push(Arg::Buffer { at: upload(&map)?, bytes: 128, access: Access::Read });
        }
        args.push(Arg::Buffer { at: dump, bytes: of_box.len(), access: Access::ReadWrite });
        let text = self.kernel(store, param);
        let module = Module::parse("tensor.ptx", &text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let launch = Launch { grid: [1; 3], block: [32, 1, 1], shared: 0 };
        machine.launch(&module, "k", launch, &args)?;
        let (mut tensor, mut of_box) = (tensor.to_vec(), of_box.to_vec());
        machine.read(at, &mut tensor)?;
        machine.read(dump, &mut of_box)?;
        Ok((tensor, of_box))
    }
}

/// Bytes that differ from their neighbours.
fn noise(count: usize, first: u32) -> Vec<u8> {
    (0..count as u32).map(|k| ((k + first).wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn cases() -> Vec<Case> {
    let case = |sizes: &[u32], box_sizes: &[u32], corner: &[i32], swizzle| Case {
        sizes: sizes.to_vec(),
        box_sizes: box_sizes.to_vec(),
        corner: corner.to_vec(),
        swizzle,
    };
    vec![
        case(&[300], &[64], &[101], Swizzle::None),
        case(&[300], &[64], &[270], Swizzle::None),
        case(&[100, 40], &[64, 16], &[8, 3], Swizzle::None),
        // Over every edge of the tensor, by odd numbers of elements.
        case(&[100, 40], &[64, 16], &[-5, 33], Swizzle::Bytes128),
        case(&[100, 40], &[64, 16], &[77, -9], Swizzle::Bytes128),
        case(&[100, 40], &[32, 32], &[64, 4], Swizzle::Bytes64),
        case(&[100, 40], &[16, 32], &[1, 20], Swizzle::Bytes32),
        case(&[40, 9, 5], &[32, 4, 4], &[3, 7, -2], Swizzle::Bytes64),
        case(&[20, 3, 4, 5], &[16, 2, 3, 2], &[5, 2, 2, 4], Swizzle::Bytes32),
        case(&[20, 3, 2, 3, 4], &[8, 2, 2, 2, 2], &[0, 2, 1, 1, 3], Swizzle::None),
    ]
}

fn tensor_bytes(case: &Case) -> usize {
    *case.strides().last().unwrap() as usize
}

#[test]
fn boxes_are_loaded() {
    for (n, case) in cases().iter().enumerate() {
        let tensor = noise(tensor_bytes(case), 7);
        let mut want = vec![0u8; case.box_bytes() as usize];
        for (to, from) in case.places() {
            if let Some(from) = from {
                want[to..to + 2].copy_from_slice(&tensor[from..from + 2]);
            }
        }
        for param in [false, true] {
            let (_, got) = case.run(false, param, &tensor, &vec![0xee; want.len()]).unwrap();
            assert!(got == want, "case {n}, param {param}");
        }
    }
}

#[test]
fn boxes_are_stored() {
    for (n, case) in cases().iter().enumerate() {
        let tensor = noise(tensor_bytes(case), 7);
        let of_box = noise(case.box_bytes() as usize, 1000);
        let mut want = tensor.clone();
        for (from, to) in case.places() {
            if let Some(to) = to {
                want[to..to + 2].copy_from_slice(&of_box[from..from + 2]);
            }
        }
        let (got, _) = case.run(true, false, &tensor, &of_box).unwrap();
        assert!(got == want, "case {n}");
    }
}

#[test]
fn what_a_map_reaches_is_checked() {
    let case = &cases()[2];
    let tensor = noise(tensor_bytes(case), 7);
    let zeros = vec![0; case.box_bytes() as usize];
    // The memory ends within the box, although the map says that it goes on.
    let fault = case.run(false, false, &tensor[..2000], &zeros).unwrap_err();
    assert_eq!(fault.kind, FaultKind::OutOfBounds, "{fault}");

    let machine = Machine::new();
    let text = case.kernel(false, true);
    let module = Module::parse("tensor.ptx", &text).unwrap();
    let at = machine.alloc(zeros.len());
    let mut args = vec![Arg::U64(5); 16];
    args.push(Arg::Buffer { at, bytes: zeros.len(), access: Access::Write });
    let launch = Launch { grid: [1; 3], block: [32, 1, 1], shared: 0 };
    let fault = machine.launch(&module, "k", launch, &args).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Arguments, "{fault}");

    let refused = text.replace("complete_tx::bytes", "complete_tx::bytes.im2col");
    let error = Module::parse_whole("tensor.ptx", &refused).unwrap_err().to_string();
    assert!(error.contains("is not supported"), "{error}");
}
