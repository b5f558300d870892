// The backward pass of the scan; kernel.cu describes it.
#pragma once
#include "scan.cuh"

enum { SUB = 4, SUBS = CHUNK / SUB };  // tokens whose states and decays are in registers at once

// Copies BYTES to shared memory without waiting for them, or zeros where there is nothing to copy. 2 bytes are waited
// for.
template <int BYTES>
__device__ __forceinline__ void copy_later(void* to, const void* from, bool exists) {
    const u32 at = static_cast<u32>(__cvta_generic_to_shared(to)), size = exists ? (BYTES > 16 ? 16 : BYTES) : 0;
    if constexpr (BYTES == 2) {
        *static_cast<unsigned short*>(to) = exists ? *static_cast<const unsigned short*>(from) : 0;
    } else if constexpr (BYTES == 32) {
        copy_later<16>(to, from, exists);
        copy_later<16>(static_cast<char*>(to) + 16, static_cast<const char*>(from) + 16, exists);
    } else if constexpr (BYTES == 16) {
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(size) : "memory");
    } else {
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(at), "l"(from), "n"(BYTES), "r"(size)
                     : "memory");
    }
}

__device__ __forceinline__ void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

// One warp's channels of one image in one direction.
template <typename T, int N, bool TRAINED>
struct Backward {
    typedef Lane<N> At;
    enum {
        CHANNELS = At::CHANNELS,
        RUN = At::RUN,
        COLUMNS = 2 * N,
        FETCH = N / 4,                                               // values of B and C for a thread of 4 warps
        ROW = 4 * CHANNELS > COLUMNS ? 4 * CHANNELS : COLUMNS,       // words of a token in shared memory
        INPUTS = 5,                                                  // u, delta, z, dout, y; the prompt is a sixth
        STAGED = 2 * WARP * RUN * sizeof(T) / 4,                     // words of one of them in a chunk
        SUMS = 4 * WARP + (N < 32 ? N : 0),                          // words of all lanes' parts of dB or of dC
        KEPT = (SUBS - 1) * WARP * PAIR * STATES,                    // words of states within the chunk
        PARTS = 4 * SUMS,
        WARP_WORDS = CHUNK * ROW + KEPT + PARTS + (CHANNELS + 31) / 32 * 32,
        FIRST_TOKEN = CHUNK * COLUMNS,                               // where the first warp's words begin
        SHARE = N / 8,                                               // sums of dB and dC that a lane computes
    };
    At at;
    Direction<T> in;
    Prompts<T> prompts;
    const T *xz, *y, *dout;
    T *dxz, *du, *ddelta;
    const float* states;
    float* dbc;  // [b l 2n] of this block of channels and this direction
    u32 l, e, width, dir, warp, warps, busy, channel, chunks, row, end;  // busy is the number of warps with channels
    // Offsets into shared memory. The block has B and C at 0, then the words of its warps, then their inputs on their
    // way. A warp has its tokens, as (delta, delta u, dy, slope / delta) and later as dB and dC; states within the
    // chunk; its lanes' parts of dB and dC; and the bias.
    u32 tokens, staged;
    // The same for this lane: of its channel in the first token of a sub; of its first state in the chunk; of the parts
    // that it sums; and of where their sums go.
    u32 own, kept, sum_from, sum_to;
    float skip;
    Raw<T, 1> next_bc[FETCH];
    float rate[PAIR][STATES], state[PAIR][STATES], carry[PAIR][STATES];
    // Only where asked for: dA, dD of the run that this thread stages, and d delta_bias of its channel.
    float da[PAIR][STATES], dd[RUN], dbias;

    // Steps go through a chunk in the order of the forward walk.
    __device__ __forceinline__ u32 token(u32 chunk, u32 step) const {
        return chunk * CHUNK + (dir ? CHUNK - 1 - step : step);
    }

    // Which of 8 tokens this thread stages, and the first channel of its run.
    __device__ __forceinline__ u32 staged_step() const { return at.lane % 8; }
    __device__ __forceinline__ u32 run() const { return at.lane / 8 * RUN; }

    // The order of channels in a token's row, by which no two lanes of an access use one bank.
    static __device__ __forceinline__ u32 order(u32 step) {
        return (step % 2 * 4 + step / 2 % 2) & (CHANNELS - 1);
    }

    __device__ __forceinline__ u32 bias_at() const { return tokens + CHUNK * ROW + KEPT + PARTS + run(); }

    __device__ __forceinline__ T* staged_input(int half, int input) const {
        return reinterpret_cast<T*>(words(staged)) + ((input * 2 + half) * WARP + at.lane) * RUN;
    }

    __device__ __forceinline__ bool exists(u32 place) const { return place < end && channel + run() < e; }

    // Tokens and channels that do not exist are read as zeros, so states before and gradients after them stay zero.
    __device__ __forceinline__ void fetch(u32 chunk) const {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const u32 from = (row + token(chunk, half * 8 + staged_step())) * e + channel + run();
            const u32 from_z = 2 * from - (channel + run()) + e;
            const bool is = exists(from);
            enum { BYTES = RUN * sizeof(T) };
            copy_later<BYTES>(staged_input(half, 0), in.u + from, is);
            copy_later<BYTES>(staged_input(half, 1), in.delta + from, is);
            copy_later<BYTES>(staged_input(half, 2), xz + from_z, is);
            copy_later<BYTES>(staged_input(half, 3), dout + from, is);
            if (!dir) copy_later<BYTES>(staged_input(half, 4), y + from, is);
            if (prompts.given()) copy_later<BYTES>(staged_input(half, 5), prompts.of(dir) + from, is);
        }
    }

    __device__ __forceinline__ void fetch_bc(u32 chunk) {
#pragma unroll
        for (int k = 0; k < FETCH; k++) {
            const u32 i = (k * warps + warp) * WARP, t = token(chunk, (i + at.lane) / COLUMNS);
            if (i < CHUNK * COLUMNS && t < l) {
                next_bc[k].load(in.x_dbl + ((row + t) * width + width - COLUMNS + (i + at.lane) % COLUMNS));
            }
        }
    }

    __device__ __forceinline__ void stage_bc() {
#pragma unroll
        for (int k = 0; k < FETCH; k++) {
            const u32 i = (k * warps + warp) * WARP;
            if (i < CHUNK * COLUMNS) *words(i + at.lane) = next_bc[k][0];
        }
    }

    __device__ __forceinline__ void load_kept(u32 chunk) {
        if (channel + PAIR * at.pair < e) {
            const float* from = states + static_cast<size_t>(chunk) * (e * N);
            load<STATES>(from, state[0]);
            load<STATES>(from + e / PAIR * N, state[1]);
        }
    }

    // Turns the inputs of a chunk into what the walk reads. The first direction writes dz, and zeros for the half of x.
    __device__ __forceinline__ void stage(u32 chunk) {
        wait_for_copies();
        float bias[RUN];
        load<RUN>(words(bias_at()), bias);
#pragma unroll 1
        for (int half = 0; half < 2; half++) {
            Raw<T, RUN> u, delta, z, dout, y, prompt;
            u.load(staged_input(half, 0));
            delta.load(staged_input(half, 1));
            z.load(staged_input(half, 2));
            dout.load(staged_input(half, 3));
            if (!dir) y.load(staged_input(half, 4));
            if (prompts.given()) prompt.load(staged_input(half, 5));
            const u32 step = half * 8 + staged_step(), to = tokens + step * ROW;
            float dz[RUN];
#pragma unroll
            for (int i = 0; i < RUN; i++) {
                const float x = delta[i] + bias[i], half_dout = 0.5f * dout[i];
                float t, gate, u_i = u[i];
                if (prompts.given()) u_i += prompt[i];
                const float d = softplus(x, t);
                // softplus' = 1 / (1 + e^-x), divided by softplus: the gradient of delta needs it multiplied by delta,
                // and by delta u.
                const float ratio = (x < 0.0f ? t : 1.0f) * reciprocal(fmaxf(d, 1e-30f) * (1.0f + t));
                dz[i] = half_dout * y[i] * silu_slope(z[i], gate);
                const float dy = half_dout * gate;
                if (TRAINED) dd[i] = fmaf(dy, u_i, dd[i]);
                store_four(words(to) + 4 * ((run() + i) ^ order(step)), d, d * u_i, dy, ratio);
            }
            const u32 from = (row + token(chunk, step)) * e + channel + run();
            if (!dir && exists(from)) {
                const u32 to_x = 2 * from - (channel + run());
                const float zero[RUN] = {};
                store<RUN>(dxz + to_x, zero);
                store<RUN>(dxz + to_x + e, dz);
            }
        }
    }

    // (delta, delta u, dy, ratio) of the channel of register k, `i` tokens into the sub whose first token is at `first`
    // for register 0. Rows are multiples of their order's bits apart, so an exclusive or finds the channel.
    static __device__ __forceinline__ const float* at_token(u32 first, int i, int k) {
        return words(first ^ 4 * (k ^ order(i))) + i * ROW;
    }

    // Computes the states of SUB tokens. `visit` gets each decay, and the state before it.
    template <typename Visit>
    __device__ __forceinline__ void advance(u32 sub, Visit visit) {
        const u32 first = own + sub * (SUB * ROW);
        const float* bc = words(sub * (SUB * COLUMNS) + at.part * STATES);
#pragma unroll
        for (int i = 0; i < SUB; i++) {
            float b[STATES];
            load<STATES>(bc + i * COLUMNS, b);
#pragma unroll
            for (int k = 0; k < PAIR; k++) {
                const float2 d = *reinterpret_cast<const float2*>(at_token(first, i, k));
#pragma unroll
                for (int j = 0; j < STATES; j++) {
                    const float decay = exp2_approx(d.x * rate[k][j]);
                    visit(i, k, j, decay, state[k][j]);
                    state[k][j] = fmaf(decay, state[k][j], d.y * b[j]);
                }
            }
        }
    }

    __device__ __forceinline__ float* kept_in_chunk(u32 sub, int k) const {
        return words(kept) + (sub * PAIR + k) * (WARP * STATES);
    }

    __device__ __forceinline__ void keep(u32 sub) const {
#pragma unroll
        for (int k = 0; k < PAIR; k++) {
            store_four(kept_in_chunk(sub, k), state[k][0], state[k][1], state[k][2], state[k][3]);
        }
    }

    // Whether a sub has tokens that exist.
    __device__ __forceinline__ bool any(u32 chunk, u32 sub) const {
        return chunk * CHUNK + (dir ? SUBS - 1 - sub : sub) * SUB < l;
    }

    // Leaves this lane's parts of dB and dC of one of two tokens.
    __device__ __forceinline__ void leave_parts(int odd, const float (&db)[STATES], const float (&dc)[STATES]) const {
        float* to = words(kept) + (KEPT + 2 * odd * SUMS);
        store_four(to, db[0], db[1], db[2], db[3]);
        store_four(to + SUMS, dc[0], dc[1], dc[2], dc[3]);
    }

    // Sums the lanes' parts of dB and dC of two tokens, and leaves the sums in the rows of those tokens, from `row` on.
    __device__ __forceinline__ void sum_parts(u32 row) const {
        __syncwarp();
        float sum[SHARE], part[SHARE];
        load<SHARE>(words(sum_from), sum);
#pragma unroll
        for (int g = 1; g < WARP / At::GROUP; g++) {
            load<SHARE>(words(sum_from) + g * N, part);
#pragma unroll
            for (int i = 0; i < SHARE; i++) sum[i] += part[i];
        }
        store<SHARE>(words(sum_to + row * ROW), sum);
        __syncwarp();
    }

    // Computes the gradients of SUB tokens, from the last to the first.
    __device__ __forceinline__ void sub_chunk(u32 chunk, u32 sub) {
        float decay[SUB][PAIR][STATES], before[SUB][PAIR][STATES];
        advance(sub, [&](int i, int k, int j, float d, float s) { decay[i][k][j] = d, before[i][k][j] = s; });
        const u32 first = own + sub * (SUB * ROW);
        const float* bc = words(sub * (SUB * COLUMNS) + at.part * STATES);
        const bool mine = at.finishes() && channel + at.channel() < e;
        const u32 forth = dir ? 0 - e : e;
        const u32 place = (row + token(chunk, sub * SUB + at.token(0))) * e + channel + at.channel();
#pragma unroll
        for (int two = SUB - 2; two >= 0; two -= 2) {
            float through_b[2][PAIR], through_a[2][PAIR];
#pragma unroll
            for (int odd = 1; odd >= 0; odd--) {
                const int i = two + odd;
                float b[STATES], c[STATES], db[STATES], dc[STATES];
                load<STATES>(bc + i * COLUMNS, b);
                load<STATES>(bc + i * COLUMNS + N, c);
#pragma unroll
                for (int k = 0; k < PAIR; k++) {
                    const float4 d = *reinterpret_cast<const float4*>(at_token(first, i, k));
#pragma unroll
                    for (int j = 0; j < STATES; j++) {
                        const float after = i + 1 < SUB ? before[i + 1][k][j] : state[k][j];
                        const float grad = fmaf(d.z, c[j], carry[k][j]);
                        dc[j] = k ? fmaf(d.z, after, dc[j]) : d.z * after;
                        db[j] = k ? fmaf(grad, d.y, db[j]) : grad * d.y;
                        through_b[odd][k] = j ? fmaf(grad, b[j], through_b[odd][k]) : grad * b[j];
                        carry[k][j] = grad * decay[i][k][j];
                        const float decayed = carry[k][j] * before[i][k][j];
                        through_a[odd][k] = j ? fmaf(decayed, rate[k][j], through_a[odd][k]) : decayed * rate[k][j];
                        if (TRAINED) da[k][j] = fmaf(decayed, d.x, da[k][j]);
                    }
                }
                leave_parts(odd, db, dc);
            }
            float b_sum[At::OWN], a_sum[At::OWN];
            at.fold(through_b, b_sum);
            at.fold(through_a, a_sum);
            if (mine) {
#pragma unroll
                for (int own = 0; own < At::OWN; own++) {
                    const int i = two + own;
                    const u32 odd = at.token(0);
                    const u32 of = (first ^ 4 * (order(odd) ^ order(i))) + odd * ROW;
                    const float4 d = *reinterpret_cast<const float4*>(words(of) + i * ROW);
                    const u32 to = place + i * forth;
                    const float grad = d.w * fmaf(d.y, b_sum[own], LN2 * d.x * a_sum[own]);
                    if (to < end) {
                        put(du + to, fmaf(d.x, b_sum[own], skip * d.z));
                        put(ddelta + to, grad);
                    }
                    if (TRAINED) dbias += grad;
                }
            }
            sum_parts(sub * SUB + two);
        }
    }

    // Writes a chunk's dB and dC, summed over the block's warps.
    __device__ __forceinline__ void sum_warps(u32 chunk) const {
#pragma unroll 1
        for (u32 i = warp * WARP + at.lane; i < CHUNK * COLUMNS; i += warps * WARP) {
            const u32 step = i / COLUMNS, t = token(chunk, step);
            if (t >= l) continue;
            const float* from = words(FIRST_TOKEN + step * ROW + i % COLUMNS);
            float sum = from[0];
#pragma unroll 1
            for (u32 w = 1; w < busy; w++) sum += from[w * WARP_WORDS];
            dbc[(row + t) * COLUMNS + i % COLUMNS] = sum;
        }
    }

    __device__ __forceinline__ void walk(u32 chunk) {
        keep(0);
#pragma unroll 1
        for (u32 sub = 0; sub + 1 < SUBS; sub++) {
            if (any(chunk, sub)) advance(sub, [](int, int, int, float, float) {});
            if (sub + 2 < SUBS) keep(sub + 1);
        }
#pragma unroll 1
        for (int sub = SUBS - 1; sub >= 0; sub--) {
            if (sub + 1 < SUBS) {
                load<STATES>(kept_in_chunk(sub, 0), state[0]);
                load<STATES>(kept_in_chunk(sub, 1), state[1]);
            }
            if (any(chunk, sub)) sub_chunk(chunk, sub);
        }
    }

    __device__ __forceinline__ void walk_all() {
        const bool some = channel < e;
        u32 chunk = dir ? 0 : chunks - 1;
        if (some) fetch(chunk), load_kept(chunk);
        fetch_bc(chunk);
#pragma unroll 1
        for (u32 left = chunks; left > 0; left--) {
            const u32 next = dir ? chunk + 1 : chunk - 1;
            stage_bc();
            __syncthreads();
            if (some) {
                stage(chunk);
                __syncwarp();
                if (left > 1) fetch(next);
                walk(chunk);
                if (left > 1) load_kept(next);
            }
            if (left > 1) fetch_bc(next);
            __syncthreads();
            sum_warps(chunk);
            chunk = next;
        }
    }

    // Writes the image's gradients of A_log [2 b e n], and of D and delta_bias [2 b e].
    __device__ __forceinline__ void store_parameters(float* da_log, float* dd_out, float* dbias_out) {
        const u32 image = (dir * gridDim.y + blockIdx.y) * e;
#pragma unroll
        for (int k = 0; k < PAIR; k++) {
            const u32 c = channel + (at.channel() ^ k);
#pragma unroll
            for (int j = 0; j < STATES; j++) da[k][j] *= LN2 * rate[k][j];
            if (c < e) store<STATES>(da_log + static_cast<size_t>(image + c) * N + at.part * STATES, da[k]);
        }
#pragma unroll
        for (int i = 0; i < RUN; i++) {
#pragma unroll
            for (int step = 1; step < 8; step *= 2) dd[i] += __shfl_xor_sync(0xFFFFFFFFu, dd[i], step);
        }
        if (staged_step() == 0 && channel + run() < e) store<RUN>(dd_out + image + channel + run(), dd);
        if (At::GROUP > 2) dbias += __shfl_xor_sync(0xFFFFFFFFu, dbias, 2);
        if (at.part < 2 && channel + at.channel() < e) dbias_out[image + channel + at.channel()] = dbias;
    }
};
