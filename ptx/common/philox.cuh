// Philox 4x32-10 (Salmon et al., SC 2011): the generator of engine/rng.rs, word for word.
#pragma once

#include "vector.cuh"

// 128 random bits from a counter and a key.
__device__ __forceinline__ uint4 philox(uint2 key, uint4 counter) {
#pragma unroll
    for (int round = 0; round < 10; round++) {
        const u32 high_x = __umulhi(0xD2511F53u, counter.x), low_x = 0xD2511F53u * counter.x;
        const u32 high_z = __umulhi(0xCD9E8D57u, counter.z), low_z = 0xCD9E8D57u * counter.z;
        counter = make_uint4(high_z ^ counter.y ^ key.x, low_z, high_x ^ counter.w ^ key.y, low_x);
        key.x += 0x9E3779B9u, key.y += 0xBB67AE85u;
    }
    return counter;
}
