//! Runs small kernels, as NVRTC writes them, from end to end.

use ptx_emulator::{Access, Arg, Launch, Machine, Module};

fn floats(machine: &Machine, values: &[f32]) -> u64 {
    let at = machine.alloc(4 * values.len());
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    machine.write(at, &bytes).unwrap();
    at
}

fn read(machine: &Machine, at: u64, n: usize) -> Vec<f32> {
    let mut bytes = vec![0; 4 * n];
    machine.read(at, &mut bytes).unwrap();
    bytes.chunks_exact(4).map(|c| f32::from_le_bytes(c.try_into().unwrap())).collect()
}

#[test]
fn axpy_with_a_ragged_end() {
    let module = Module::parse("axpy.ptx", include_str!("../examples/axpy.ptx")).unwrap();
    let machine = Machine::new();
    let n = 1000;
    let x: Vec<f32> = (0..n).map(|i| i as f32 * 0.5).collect();
    let y: Vec<f32> = (0..n).map(|i| 3.0 - i as f32).collect();
    let (at_x, at_y) = (floats(&machine, &x), floats(&machine, &y));
    let launch = Launch { grid: [8, 1, 1], block: [128, 1, 1], shared: 0 };
    let args = [
        Arg::Buffer { at: at_x, bytes: 4 * n, access: Access::Read },
        Arg::Buffer { at: at_y, bytes: 4 * n, access: Access::ReadWrite },
        Arg::F32(1.5),
        Arg::U32(n as u32),
    ];
    let meter = machine.launch(&module, "axpy", launch, &args).unwrap();
    let expected: Vec<f32> = x.iter().zip(&y).map(|(x, y)| x.mul_add(1.5, *y)).collect();
    assert_eq!(read(&machine, at_y, n), expected);
    assert_eq!(meter.threads, 1024);
    assert_eq!(meter.class(ptx_emulator::Class::Fma).threads, 1000);
    let loads = meter.traffic(ptx_emulator::Space::Global, ptx_emulator::Class::Load);
    assert_eq!((loads.bytes, loads.sectors, loads.requests), (8000, 250, 64));
}

/// A predicate that starts as a constant, as NVRTC writes a parity test.
#[test]
fn constant_predicates() {
    const PARITY: &str = r"
.version 8.4
.target sm_80
.address_size 64
.visible .entry parity(.param .u64 parity_param_0, .param .u32 parity_param_1)
{
	.reg .pred 	%p<5>;
	.reg .b32 	%r<5>;
	.reg .b64 	%rd<2>;
	ld.param.u64 	%rd1, [parity_param_0];
	ld.param.u32 	%r1, [parity_param_1];
	and.b32  	%r2, %r1, 1;
	setp.eq.b32 	%p1, %r2, 1;
	mov.pred 	%p2, 0;
	xor.pred  	%p3, %p1, %p2;
	mov.pred 	%p4, 1;
	selp.u32 	%r3, 10, 20, %p3;
	@%p4 add.u32 	%r3, %r3, 1;
	st.global.u32 	[%rd1], %r3;
	ret;
}
";
    let module = Module::parse("parity.ptx", PARITY).unwrap();
    let machine = Machine::new();
    let at = machine.alloc(4);
    for (n, want) in [(6, 21), (7, 11)] {
        let launch = Launch { grid: [1; 3], block: [1; 3], shared: 0 };
        let args = [Arg::Buffer { at, bytes: 4, access: Access::Write }, Arg::U32(n)];
        machine.launch(&module, "parity", launch, &args).unwrap();
        let mut bytes = [0; 4];
        machine.read(at, &mut bytes).unwrap();
        assert_eq!(u32::from_le_bytes(bytes), want, "{n}");
    }
}

/// Compares the selective scan of the examples with plain loops.
#[test]
fn scan_gives_what_its_formula_says() {
    const STATES: usize = 16;
    let (batch, length, channels) = (2, 21, 136);
    let module = Module::parse("scan.ptx", include_str!("../examples/scan.ptx")).unwrap();
    let machine = Machine::new();
    let mut seed = 7u32;
    let mut random = |n: usize, low: f32, high: f32| -> Vec<f32> {
        let mut next = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            low + (high - low) * (seed >> 8) as f32 / (1 << 24) as f32
        };
        (0..n).map(|_| next()).collect()
    };
    let tokens = batch * length;
    let (u, raw) = (random(tokens * channels, -2.0, 2.0), random(tokens * channels, -4.0, 25.0));
    let a_log = random(channels * STATES, -1.0, 2.0);
    let (bc, d) = (random(tokens * 2 * STATES, -1.0, 1.0), random(channels, -1.0, 1.0));
    let input = |x: &[f32]| Arg::Buffer { at: floats(&machine, x), bytes: 4 * x.len(), access: Access::Read };
    let at = machine.alloc(4 * tokens * channels);
    let out = Arg::Buffer { at, bytes: 4 * tokens * channels, access: Access::Write };
    let args = [
        input(&u),
        input(&raw),
        input(&a_log),
        input(&bc),
        input(&d),
        out,
        Arg::U32(length as u32),
        Arg::U32(channels as u32),
    ];
    let launch = Launch { grid: [2, batch as u32, 1], block: [128, 1, 1], shared: 0 };
    let meter = machine.launch(&module, "scan", launch, &args).unwrap();
    let y = read(&machine, at, tokens * channels);
    for b in 0..batch {
        for c in 0..channels {
            let mut h = [0f64; STATES];
            for t in b * length..(b + 1) * length {
                let x = f64::from(u[t * channels + c]);
                let delta = f64::from(raw[t * channels + c]).exp().ln_1p();
                let mut want = f64::from(d[c]) * x;
                for n in 0..STATES {
                    let a = -f64::from(a_log[c * STATES + n]).exp();
                    h[n] = h[n] * (delta * a).exp() + delta * x * f64::from(bc[t * 2 * STATES + n]);
                    want += h[n] * f64::from(bc[t * 2 * STATES + STATES + n]);
                }
                let error = (f64::from(y[t * channels + c]) - want).abs();
                // The bound is for f32 sums of 33 terms whose size is up to 50.
                assert!(error <= 2e-4, "{b} {t} {c}: off by {error}");
            }
        }
    }
    // The scan computes 16 powers for each token and channel, one more where softplus takes an exponential, and those of A.
    // `log1p` needs none.
    let exponentials = raw.iter().filter(|&&r| r <= 20.0).count();
    let mufu = meter.class(ptx_emulator::Class::Mufu).threads as usize;
    assert_eq!(mufu, tokens * channels * STATES + exponentials + batch * channels * STATES);
    let shared = meter.traffic(ptx_emulator::Space::Shared, ptx_emulator::Class::Load);
    assert_eq!(shared.wavefronts, shared.ideal_wavefronts);
}
