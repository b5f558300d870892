// Products of small matrices of bf16 on tensor cores, with sums in f32, and what brings their operands to registers.
//
// A lane has g = lane / 4 and t = lane % 4. Of a 16 x 16 operand A it holds rows g and g + 8 at columns 2t, 2t + 1 and 8
// further; of 16 x 8 sums rows g, twice, and g + 8, twice, at columns 2t and 2t + 1 (PTX ISA, mma.m16n8k16). Two sums side
// by side, narrowed in this order, are therefore an operand A.
#pragma once
#include "../common/vector.cuh"

// sums += A B for A of 16 x 16 and B of 16 x 8.
__device__ __forceinline__ void multiply_add(float (&sums)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Four matrices of 8 x 8, one in each register; lane l gives the place of row l % 8 of matrix l / 8.
__device__ __forceinline__ void load_matrices(u32 (&x)[4], u32 at) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
                 : "r"(at)
                 : "memory");
}

// The same, each transposed.
__device__ __forceinline__ void load_transposed(u32 (&x)[4], u32 at) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
                 : "r"(at)
                 : "memory");
}

// Hides how a value came about, so that it stays in a register and is not computed again wherever it is needed.
__device__ __forceinline__ u32 kept(u32 x) {
    asm volatile("" : "+r"(x));
    return x;
}

// A place in shared memory, in bytes.
__device__ __forceinline__ u32 place(const void* at) { return static_cast<u32>(__cvta_generic_to_shared(at)); }

// Copies 16 bytes, or 4, to a place in shared memory without waiting for them, or zeros where there is nothing to copy.
__device__ __forceinline__ void copy_16(u32 to, const void* from, bool exists) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(exists ? 16 : 0) : "memory");
}

__device__ __forceinline__ void copy_4(u32 to, const void* from, bool exists) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from), "r"(exists ? 4 : 0) : "memory");
}

__device__ __forceinline__ void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }
