use super::*;
use crate::{DType, Device, Tensor};

/// A launcher that holds up to `limit` bytes of host memory behind made-up addresses, and runs nothing.
#[derive(Debug, Default)]
struct Memory {
    limit: usize,
    blocks: Mutex<HashMap<u64, Vec<u8>>>,
    made: AtomicUsize,
}

fn refuse<T>(what: &str) -> Result<T> {
    Err(Error::Device { device: "test", what: what.into() })
}

impl Launcher for Memory {
    fn name(&self) -> &'static str {
        "test"
    }

    fn limits(&self) -> Limits {
        crate::cards::H100
    }

    fn alloc(&self, bytes: usize) -> Result<Region> {
        let mut blocks = self.blocks.lock().unwrap();
        if blocks.values().map(Vec::len).sum::<usize>() + bytes > self.limit {
            return refuse("out of memory");
        }
        let at = (1 + self.made.fetch_add(1, Ordering::Relaxed) as u64) << 40;
        blocks.insert(at, vec![0xAA; bytes]);
        Ok(Region { at, bytes })
    }

    fn free(&self, region: Region) {
        self.blocks.lock().unwrap().remove(&region.at).expect("allocated");
    }

    fn upload(&self, to: Region, bytes: &[u8]) -> Result<()> {
        self.blocks.lock().unwrap().get_mut(&to.at).expect("allocated")[..to.bytes].copy_from_slice(bytes);
        Ok(())
    }

    fn download(&self, from: Region, bytes: &mut [u8]) -> Result<()> {
        bytes.copy_from_slice(&self.blocks.lock().unwrap()[&from.at][..from.bytes]);
        Ok(())
    }

    fn copy(&self, to: Region, from: Region) -> Result<()> {
        let mut bytes = vec![0; from.bytes];
        self.download(from, &mut bytes)?;
        self.upload(to, &bytes)
    }

    fn zero(&self, region: Region) -> Result<()> {
        self.upload(region, &vec![0; region.bytes])
    }

    fn launch(&self, kernel: Kernel, _: Grid, _: &[Arg]) -> Result<()> {
        refuse(kernel.entry)
    }

    fn gemm(&self, _: &BlasGemm) -> Result<()> {
        refuse("gemm")
    }
}

fn device(limit: usize) -> (Arc<Memory>, Device) {
    let memory = Arc::new(Memory { limit, ..Memory::default() });
    (memory.clone(), Device::launched(memory))
}

#[test]
fn values_go_there_and_come_back() {
    let (memory, device) = device(1 << 20);
    let values = [1.5, -2.0, 3.25];
    let a = Tensor::from_slice(&device, &values, &[3]);
    assert_eq!(a.to_host().unwrap(), values);
    assert_eq!(a.to_device(&Device::cpu()).unwrap().as_slice(), values);
    assert_eq!(Tensor::from_vec(values.into(), &[3]).to_device(&device).unwrap().to_host().unwrap(), values);
    let mut b = a.clone();
    b.make_unique(&device);
    b.fill_zero();
    assert_eq!((a.to_host().unwrap(), b.to_host().unwrap()), (values.into(), vec![0.0; 3]));
    assert!(a.check_finite("a").is_ok());
    assert!(Tensor::empty(&device, &[0, 7]).to_host().unwrap().is_empty());
    drop((a, b, device));
    assert!(memory.blocks.lock().unwrap().is_empty(), "everything is freed");
}

#[test]
fn freed_memory_comes_back_and_counts_are_kept() {
    let (memory, device) = device(1 << 20);
    let a = Tensor::empty(&device, &[1000]);
    let at = a.region();
    assert_eq!(at.bytes, 4000);
    drop(a);
    let b = Tensor::empty_typed(&device, DType::Bf16, &[2001]);
    assert_eq!((b.region().at, b.region().bytes), (at.at, 4002), "same size class");
    assert_eq!(device.memory(), (4096, 4096));
    drop(b);
    assert_eq!(device.memory(), (4096, 0));
    assert_eq!(memory.made.load(Ordering::Relaxed), 1);
}

#[test]
fn a_checked_device_hands_nothing_out_twice() {
    let memory = Arc::new(Memory { limit: 100, ..Memory::default() });
    let device = Device::launched_checked(memory.clone());
    for _ in 0..2 {
        assert_eq!(Tensor::zeros(&device, &[25]).to_host().unwrap(), [0.0; 25]);
    }
    assert_eq!(memory.made.load(Ordering::Relaxed), 2);
}

#[test]
fn full_memory_is_an_error_of_the_next_result() {
    let (memory, device) = device(8192);
    drop(Tensor::empty(&device, &[1024]));
    let _large = Tensor::empty(&device, &[2048]);
    assert_eq!(memory.made.load(Ordering::Relaxed), 2, "room was made by freeing what was kept");
    let mut lost = Tensor::zeros(&device, &[2048]);
    lost.add_assign(&device, &Tensor::zeros(&device, &[2048]));
    assert_eq!(lost.to_host().unwrap_err().to_string(), "test device: out of memory");
    drop(lost);
    let mut small = Tensor::zeros(&device, &[]);
    small.add_assign(&device, &small.clone());
    let failed = small.to_host().unwrap_err().to_string();
    assert_eq!(failed, "test device: out of memory");
}
