//! A CUDA driver and a cuBLASLt without a GPU: the functions that `engine/cuda` calls, under their names, on the
//! PTX emulator. A program that finds this library as `libcuda.so.1` and `libcublasLt.so.12` (links to one file; the
//! helper is `tests/testkit/fake_cuda.rs`) runs its whole GPU path, and where it leans on something that CUDA does
//! not promise, it gets wrong bytes or an error:
//!
//! - What is put into a stream runs when somebody waits for it (`cuStreamSynchronize`, `cuEventSynchronize`, a stream
//!   that is waited for and itself waits for an event, a copy to ordinary memory, the end of the stream), as far as is
//!   waited for and no further. `cuEventQuery` of work that is not done runs one piece and says `NOT_READY`. `cuMemFree`
//!   and `cuModuleUnload` wait for nothing.
//! - Bytes of pinned memory are read and written when the copy runs, those of ordinary memory at the call. New pinned
//!   memory holds garbage; so does freed pinned memory, which is never used again (the library leaks it).
//! - Memory is there between its allocation and its free in stream order. Work that runs with freed memory, or with
//!   memory that another stream has not made yet, and every fault that the emulator finds, is
//!   `CUDA_ERROR_ILLEGAL_ADDRESS` on this and all later calls of the context.
//! - A stream that captures keeps its work. What cannot be captured spoils the capture; so does a copy from or to
//!   ordinary memory (the driver would keep the pointer), memory made or freed in stream order, an event from outside, or
//!   (not so in CUDA) another stream that waits for an event of the capture.
//! - A context must be current on the calling thread, handles must be alive, and there is no default stream.
//! - A block has the card's shared memory (`engine::cards`), and its threads share the card's registers. There is no
//!   compiler that says how many registers a kernel has, so a thread counts with as many as `.maxntid`, `.minnctapersm`
//!   and `.maxnreg` allow, and without them with 255: a kernel that bounds nothing can have 256 threads.
//! - An algorithm of cuBLASLt is for the product it was asked for: other sizes, types or leading dimensions, less
//!   workspace or less alignment than was claimed is an error. Products scribble over their workspace.
//!
//! A kernel may touch the allocations that its 8-byte parameters point into, whole. Where it loads 64-bit integers from
//! global memory (tables of addresses), also those that the words of its buffers point into.
//!
//! Environment, read at the first call:
//!
//! | | |
//! |---|---|
//! | `FAKE_CUDA_VERSION` | newest CUDA that the driver knows; 12080 |
//! | `FAKE_CUDA_DEVICES` | number of devices; 1 |
//! | `FAKE_CUDA_CARD` | the card that each plays, as in `--device emulated:CARD`; `h100` |
//! | `FAKE_CUDA_CAPABILITY` | ten times the compute capability, where it is not the card's |
//! | `FAKE_CUDA_MEMORY` | bytes of each; 8 GiB |
//! | `FAKE_CUDA_FAIL` | `cuLaunchKernel:700@37,cublasLtMatmul:13@2`: the 37th call of one function fails with 700, ... |
//! | `FAKE_CUDA_LOG` | a file that gets a line for every call, and the text of every fault |
//! | `FAKE_CUDA_CHECKS` | 0: the emulator checks addresses only |

mod blas;
mod blas_calls;
mod capture;
mod config;
mod context;
mod driver_calls;
mod ffi;
mod gemm;
mod kernel;
mod memory;
mod pinned;
mod process;
mod status;
mod stream;
