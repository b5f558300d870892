//! The functions of `cuda.h`.

use std::ffi::c_char;

use ptx_emulator::Launch;

use crate::config::Config;
use crate::ffi::{In, Out, exports, text_of};
use crate::status::{Answer, Status, describe};
use crate::stream::Op;

/// Options of `cuModuleLoadDataEx` with the buffer for the compiler's error log, and with its size.
const ERROR_LOG: u32 = 5;
const ERROR_LOG_BYTES: u32 = 6;

/// A `CUdevice_attribute` with its value on the card. Clocks, caches and buses are those of an H100.
fn attribute(attribute: u32, config: &Config) -> Answer<i32> {
    let card = &config.card;
    let [major, minor] = card.compute_capability;
    Ok(match attribute {
        1..=3 => 1024,
        4 => 64,
        5 => i32::MAX,
        6 | 7 => 65_535,
        8 => 48 << 10,
        10 => 32,
        12 | 82 => card.registers_per_multiprocessor as i32,
        13 => 1_980_000,
        16 => card.multiprocessors as i32,
        36 => 2_619_000,
        37 => 5120,
        38 => 50 << 20,
        39 => card.threads_per_multiprocessor as i32,
        40 => 3,
        41 | 115 => 1,
        75 => major as i32,
        76 => minor as i32,
        81 => card.shared_per_multiprocessor as i32,
        97 => card.shared_per_block as i32,
        106 => card.blocks_per_multiprocessor as i32,
        111 => card.shared_reserved as i32,
        _ => return Err(Status::INVALID_VALUE),
    })
}

/// Puts a text with its zero byte into `bytes` bytes, as far as it fits.
fn put_text(to: Out<u8>, bytes: usize, text: &str) -> Answer {
    let text = &text.as_bytes()[..text.len().min(bytes.saturating_sub(1))];
    text.iter().chain([&0]).take(bytes).enumerate().try_for_each(|(n, &byte)| to.set_nth(n, byte))
}

exports! {
    cuInit(flags: u32) "" => |p| if flags == 0 { p.initialise() } else { Err(Status::INVALID_VALUE) };
    cuDriverGetVersion(version: Out<i32>) "" => |p| version.set(p.config.version);
    cuGetErrorName(code: u32, name: Out<*const c_char>) "{code}" => |_| {
        let text = describe(code).map(|[name, _]| name);
        name.set(text_of(text)).and(text.map(drop).ok_or(Status::INVALID_VALUE))
    };
    cuGetErrorString(code: u32, text: Out<*const c_char>) "{code}" => |_| {
        let found = describe(code).map(|[_, text]| text);
        text.set(text_of(found)).and(found.map(drop).ok_or(Status::INVALID_VALUE))
    };

    cuDeviceGetCount(count: Out<i32>) "" => |p| {
        let devices = p.initialised()?.config.devices;
        count.set(devices as i32)
    };
    cuDeviceGet(device: Out<i32>, ordinal: i32) "{ordinal}" => |p| {
        p.device(ordinal)?;
        device.set(ordinal)
    };
    cuDeviceGetName(name: Out<u8>, bytes: i32, device: i32) "{device}" => |p| {
        p.device(device)?;
        let bytes = usize::try_from(bytes).ok().filter(|&n| n > 0).ok_or(Status::INVALID_VALUE)?;
        put_text(name, bytes, "Fake GPU (PTX emulator)")
    };
    cuDeviceGetAttribute(value: Out<i32>, which: u32, device: i32) "{device} attribute {which}" => |p| {
        value.set(attribute(which, &p.device(device)?.config)?)
    };
    cuDeviceTotalMem_v2(bytes: Out<usize>, device: i32) "{device}" => |p| {
        let memory = p.device(device)?.config.memory;
        bytes.set(memory)
    };
    cuDevicePrimaryCtxRetain(context: Out<usize>, device: i32) "{device}" => |p| {
        let id = p.retain(device)?;
        context.set(id)
    };
    cuDevicePrimaryCtxRelease_v2(device: i32) "{device}" => |p| p.release(device);
    cuCtxSetCurrent(context: usize) "{context:#x}" => |p| p.make_current(context);

    cuStreamCreate(stream: Out<usize>, flags: u32) "flags {flags}" => |p| {
        if flags > 1 {
            return Err(Status::INVALID_VALUE);
        }
        stream.set(p.context()?.make_stream())
    };
    cuStreamDestroy_v2(stream: usize) "{stream:#x}" => |p| p.context()?.end_stream(stream);
    cuStreamSynchronize(stream: usize) "{stream:#x}" => |p| p.context()?.synchronize(stream);
    cuStreamWaitEvent(stream: usize, event: usize, flags: u32) "{stream:#x} event {event:#x}" => |p| {
        if flags != 0 {
            return Err(Status::INVALID_VALUE);
        }
        p.context()?.wait_event(stream, event)
    };

    cuEventCreate(event: Out<usize>, flags: u32) "flags {flags}" => |p| {
        const BLOCKING: u32 = 1;
        const NO_TIMING: u32 = 2;
        if flags & !(BLOCKING | NO_TIMING) != 0 {
            return Err(Status::INVALID_VALUE);
        }
        event.set(p.context()?.make_event(flags & NO_TIMING == 0))
    };
    cuEventDestroy_v2(event: usize) "{event:#x}" => |p| {
        p.context()?.events.remove(&event).map(drop).ok_or(Status::INVALID_HANDLE)
    };
    cuEventRecord(event: usize, stream: usize) "{event:#x} stream {stream:#x}" => |p| {
        p.context()?.record(event, stream)
    };
    cuEventSynchronize(event: usize) "{event:#x}" => |p| p.context()?.synchronize_event(event);
    cuEventQuery(event: usize) "{event:#x}" => |p| p.context()?.query_event(event);
    cuEventElapsedTime(milliseconds: Out<f32>, start: usize, end: usize) "{start:#x} {end:#x}" => |p| {
        milliseconds.set(p.context()?.elapsed(start, end)?)
    };
    cuEventElapsedTime_v2(milliseconds: Out<f32>, start: usize, end: usize) "{start:#x} {end:#x}" => |p| {
        milliseconds.set(p.context()?.elapsed(start, end)?)
    };

    cuMemGetInfo_v2(free: Out<usize>, total: Out<usize>) "" => |p| {
        let info = p.context()?.memory.info();
        free.set(info[0]).and(total.set(info[1]))
    };
    cuDeviceGetDefaultMemPool(pool: Out<usize>, device: i32) "{device}" => |p| {
        p.device(device)?;
        pool.set(POOL)
    };
    cuMemPoolSetAttribute(pool: usize, which: u32, value: In<u64>) "attribute {which}" => |p| {
        const RELEASE_THRESHOLD: u32 = 4;
        let context = p.context()?;
        match which {
            _ if pool != POOL => return Err(Status::INVALID_VALUE),
            RELEASE_THRESHOLD => context.memory.set_keeps(value.get()? as usize),
            _ => return Err(Status::NOT_SUPPORTED),
        }
        Ok(())
    };
    cuMemPoolTrimTo(pool: usize, keep: usize) "{keep}" => |p| {
        if pool != POOL {
            return Err(Status::INVALID_VALUE);
        }
        p.context()?.memory.trim(keep);
        Ok(())
    };
    cuMemAllocAsync(at: Out<u64>, bytes: usize, stream: usize) "{bytes} stream {stream:#x}" => |p| {
        let context = p.context()?;
        context.not_captured(stream)?;
        let made = context.memory.alloc_in_order(bytes)?;
        context.enqueue(stream, Op::Make(made))?;
        at.set(made)
    };
    cuMemFreeAsync(at: u64, stream: usize) "{at:#x} stream {stream:#x}" => |p| {
        let context = p.context()?;
        context.not_captured(stream)?;
        context.memory.leaves(at)?;
        context.enqueue(stream, Op::Free(at))
    };
    cuMemAlloc_v2(at: Out<u64>, bytes: usize) "{bytes}" => |p| {
        let context = p.context()?;
        context.unsafe_call()?;
        at.set(context.memory.alloc(bytes)?)
    };
    cuMemFree_v2(at: u64) "{at:#x}" => |p| {
        let context = p.context()?;
        context.unsafe_call()?;
        context.memory.free(at)
    };
    cuMemHostAlloc(at: Out<usize>, bytes: usize, flags: u32) "{bytes} flags {flags}" => |p| {
        let context = p.context()?;
        context.unsafe_call()?;
        if flags > 7 {
            return Err(Status::INVALID_VALUE);
        }
        at.set(context.pinned.alloc(bytes).ok_or(Status::OUT_OF_MEMORY)?)
    };
    cuMemFreeHost(at: usize) "" => |p| {
        let context = p.context()?;
        context.unsafe_call()?;
        if context.pinned.free(at) { Ok(()) } else { Err(Status::INVALID_VALUE) }
    };

    cuMemcpyHtoDAsync_v2(to: u64, from: In<u8>, bytes: usize, stream: usize)
        "{to:#x} bytes {bytes} stream {stream:#x}" => |p| {
        let context = p.context()?;
        context.memory.names(to, bytes)?;
        if context.pinned.has(from.at()) {
            return context.enqueue(stream, Op::UploadPinned { to, from: from.at(), bytes });
        }
        context.not_captured(stream)?;
        let bytes = from.take(bytes)?;
        context.enqueue(stream, Op::Upload { to, bytes: bytes.into() })
    };
    cuMemcpyDtoHAsync_v2(to: Out<u8>, from: u64, bytes: usize, stream: usize)
        "{from:#x} bytes {bytes} stream {stream:#x}" => |p| {
        let context = p.context()?;
        context.memory.names(from, bytes)?;
        if context.pinned.has(to.at()) {
            return context.enqueue(stream, Op::DownloadPinned { to: to.at(), from, bytes });
        }
        context.not_captured(stream)?;
        context.synchronize(stream)?;
        let mut copy = vec![0; bytes];
        let read = context.memory.read(from, &mut copy);
        read.map_err(|fault| context.break_with(Status::ILLEGAL_ADDRESS, fault))?;
        copy.into_iter().enumerate().try_for_each(|(n, byte)| to.set_nth(n, byte))
    };
    cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: usize)
        "{from:#x} to {to:#x} bytes {bytes} stream {stream:#x}" => |p| {
        let context = p.context()?;
        context.memory.names(to, bytes)?;
        context.memory.names(from, bytes)?;
        context.enqueue(stream, Op::Copy { to, from, bytes })
    };
    cuMemsetD8Async(to: u64, value: u8, bytes: usize, stream: usize)
        "{to:#x} bytes {bytes} stream {stream:#x}" => |p| {
        let context = p.context()?;
        context.memory.names(to, bytes)?;
        context.enqueue(stream, Op::Fill { to, value, bytes })
    };

    cuModuleLoadDataEx(
        module: Out<usize>, image: In<c_char>, options: u32, names: In<u32>, values: In<Out<u8>>
    ) "" => |p| {
        let context = p.context()?;
        context.unsafe_call()?;
        match context.load(&image.text()?) {
            Ok(handle) => module.set(handle),
            Err((status, why)) => {
                let names = names.take(options as usize).unwrap_or_default();
                let value = |which| names.iter().position(|&name| name == which).map(|n| values.nth(n));
                if let (Some(log), Some(bytes)) = (value(ERROR_LOG), value(ERROR_LOG_BYTES)) {
                    put_text(log?, bytes?.at(), &why)?;
                }
                context.faults.push(why);
                Err(status)
            }
        }
    };
    cuModuleUnload(module: usize) "{module:#x}" => |p| {
        let context = p.context()?;
        context.unsafe_call()?;
        context.unload(module)
    };
    cuModuleGetFunction(function: Out<usize>, module: usize, name: In<c_char>) "{module:#x}" => |p| {
        function.set(p.context()?.find(module, &name.text()?)?)
    };
    cuFuncGetAttribute(value: Out<i32>, which: u32, function: usize) "{function:#x} {which}" => |p| {
        value.set(p.context()?.function(function)?.attribute(which)?)
    };
    cuFuncSetAttribute(function: usize, which: u32, value: i32) "{function:#x} {which} {value}" => |p| {
        p.context()?.function(function)?.set_attribute(which, value)
    };
    cuFuncGetParamInfo(function: usize, index: usize, offset: Out<usize>, bytes: Out<usize>)
        "{function:#x} {index}" => |p| {
        let parameter = p.context()?.function(function)?.parameter(index)?;
        // The pointer to the size may be null.
        offset.set(parameter[0])?;
        if bytes.at() == 0 { Ok(()) } else { bytes.set(parameter[1]) }
    };
    cuLaunchKernel(
        function: usize, blocks_x: u32, blocks_y: u32, blocks_z: u32, threads_x: u32, threads_y: u32,
        threads_z: u32, shared: u32, stream: usize, parameters: In<In<u8>>, extra: In<u8>
    ) "[{blocks_x} {blocks_y} {blocks_z}] [{threads_x} {threads_y} {threads_z}] shared {shared} \
       stream {stream:#x}" => |p| {
        if !extra.is_null() {
            return Err(Status::NOT_SUPPORTED);
        }
        let size = Launch {
            grid: [blocks_x, blocks_y, blocks_z], block: [threads_x, threads_y, threads_z], shared
        };
        let name = p.context()?.function(function)?.name().to_string();
        p.note = name + " ";
        p.context()?.launch(function, size, stream, |k, bytes| {
            let mut value = [0; 8];
            value[..bytes].copy_from_slice(&parameters.nth(k)?.take(bytes)?);
            Ok(u64::from_le_bytes(value))
        })
    };

    cuStreamBeginCapture_v2(stream: usize, mode: u32) "{stream:#x} mode {mode}" => |p| {
        p.context()?.begin_capture(stream, mode)
    };
    cuStreamEndCapture(stream: usize, graph: Out<usize>) "{stream:#x}" => |p| {
        graph.set(0)?;
        let ended = p.context()?.end_capture(stream)?;
        graph.set(ended)
    };
    cuStreamIsCapturing(stream: usize, status: Out<u32>) "{stream:#x}" => |p| {
        status.set(p.context()?.capture_status(stream)?)
    };
    cuGraphInstantiateWithFlags(exec: Out<usize>, graph: usize, flags: u64) "{graph:#x} {flags}" => |p| {
        exec.set(p.context()?.instantiate(graph)?)
    };
    cuGraphLaunch(exec: usize, stream: usize) "{exec:#x} stream {stream:#x}" => |p| {
        p.context()?.launch_graph(exec, stream)
    };
    cuGraphExecDestroy(exec: usize) "{exec:#x}" => |p| {
        p.context()?.execs.remove(&exec).map(drop).ok_or(Status::INVALID_HANDLE)
    };
    cuGraphDestroy(graph: usize) "{graph:#x}" => |p| {
        p.context()?.graphs.remove(&graph).map(drop).ok_or(Status::INVALID_HANDLE)
    };
}

/// The memory pool of every device.
const POOL: usize = 0x0090_0100;
