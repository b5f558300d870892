//! Fills and reads the variables of a module: `cargo run -p ptx-emulator --example variables`
//!
//! The kernel is table.cu, compiled by NVRTC.

use ptx_emulator::{Machine, Module};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let module = Module::parse("table.ptx", include_str!("table.ptx"))?;
    for variable in module.globals() {
        println!(
            "{}: {} bytes{}",
            variable.name,
            variable.bytes,
            if variable.constant { ", constant" } else { "" }
        );
    }
    let machine = Machine::new();
    machine.symbol(&module, "table")?.write(&[0.5f32, 1.5, 2.5, 3.5])?;

    let index = machine.upload(&[3u32, 0, 7, 1, 9]);
    let out = machine.uninit::<f32>(5);
    let look_up = machine.kernel(&module, "look_up").block(32);
    let look_up = look_up.arg(index.read()).arg(out.write()).arg(5u32);
    look_up.clone().launch()?;
    println!("{:?}", machine.download(out)?);

    // Variables keep their values from launch to launch.
    look_up.launch()?;
    println!("{} indices lay beside the table", machine.symbol(&module, "beside")?.read::<u32>()?[0]);
    Ok(())
}
