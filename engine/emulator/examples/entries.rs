//! Lists the kernels of PTX files: `cargo run -p ptx-emulator --example entries -- FILE...`

use ptx_emulator::Module;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for file in std::env::args().skip(1) {
        let module = Module::parse(&file, &std::fs::read_to_string(&file)?)?;
        println!("{file}");
        for entry in module.entries() {
            let bytes: Vec<u32> = entry.params.iter().map(|p| p.bytes).collect();
            println!(
                "  {} parameters of {bytes:?} bytes, {} bytes of shared memory",
                entry.name, entry.shared
            );
        }
    }
    Ok(())
}
