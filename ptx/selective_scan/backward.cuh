// The scan backward: see kernel.cu.
#pragma once
#include "scan.cuh"

enum { SUB = 4, SUBS = CHUNK / SUB };  // tokens whose states and decays are in registers at once

// Copies BYTES to shared memory without waiting; 2 bytes at once.
template <int BYTES>
__device__ __forceinline__ void copy_later(void* to, const void* from) {
    const u32 at = static_cast<u32>(__cvta_generic_to_shared(to));
    if constexpr (BYTES == 2) {
        *static_cast<unsigned short*>(to) = *static_cast<const unsigned short*>(from);
    } else if constexpr (BYTES == 32) {
        copy_later<16>(to, from);
        copy_later<16>(static_cast<char*>(to) + 16, static_cast<const char*>(from) + 16);
    } else if constexpr (BYTES == 16) {
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(at), "l"(from) : "memory");
    } else {
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(at), "l"(from), "n"(BYTES) : "memory");
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
        FETCH = N / 4,                                               // values of B and C a thread of 4 warps reads
        ROW = 4 * CHANNELS > COLUMNS ? 4 * CHANNELS : COLUMNS,       // words of a token in shared memory
        INPUTS = 5,                                                  // u, delta, z, dout, y; a sixth is the prompt
        STAGED = WARP * RUN * sizeof(T),                             // bytes of 8 tokens of one of them
        SUMS = 4 * WARP + (N < 32 ? N : 0),                          // words of a row of lanes' parts of dB or dC
        KEPT = (SUBS - 1) * WARP * PAIR * STATES,                    // words of states within the chunk
        PARTS = 4 * SUMS,
        SHARE = N / 8,                                               // of their sums, for each lane
    };
    At at;
    Direction<T> in;
    const T *xz, *prompt, *y, *dout;
    T *dxz, *du, *ddelta;
    const float* states;
    float* dbc;                             // [b l 2n] of this block of channels and this direction
    u32 l, e, width, dir, warp, warps, busy, channel, chunks, row, end;  // busy: warps that have channels
    // Shared memory: the block's B and C, and the first warp's tokens; this warp's: tokens as (delta, delta u, dy,
    // slope / delta), later dB and dC; states within the chunk; parts of dB and dC; inputs on their way.
    float *bc, *all_tokens, *tokens, *kept, *parts;
    char* staged;
    float bias[RUN], skip;
    Raw<T, 1> next_bc[FETCH];
    float rate[PAIR][STATES], state[PAIR][STATES], carry[PAIR][STATES];
    // Only when asked: dA, dD of the run that this thread stages, d delta_bias of its channel.
    float da[PAIR][STATES], dd[RUN], dbias;

    // Steps go through a chunk as the forward walk did.
    __device__ __forceinline__ u32 token(u32 chunk, u32 step) const {
        return chunk * CHUNK + (dir ? CHUNK - 1 - step : step);
    }

    // Which of 8 tokens this thread stages, and the first channel.
    __device__ __forceinline__ u32 staged_step() const { return at.lane % 8; }
    __device__ __forceinline__ u32 run() const { return at.lane / 8 * RUN; }

    // Where a token's channel lies among the slots of its row: no two lanes of an access on one bank.
    static __device__ __forceinline__ u32 order(u32 step) {
        return (step % 2 * 4 + step / 2 % 2) & (CHANNELS - 1);
    }

    __device__ __forceinline__ char* staged_input(int half, int input) const {
        return staged + (input * 2 + half) * STAGED + at.lane * (RUN * sizeof(T));
    }

    __device__ __forceinline__ bool exists(u32 place) const { return place < end && channel + run() < e; }

    __device__ __forceinline__ void fetch(u32 chunk) const {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const u32 from = (row + token(chunk, half * 8 + staged_step())) * e + channel + run();
            if (!exists(from)) continue;
            enum { BYTES = RUN * sizeof(T) };
            copy_later<BYTES>(staged_input(half, 0), in.u + from);
            copy_later<BYTES>(staged_input(half, 1), in.delta + from);
            copy_later<BYTES>(staged_input(half, 2), xz + (2 * from - (channel + run()) + e));
            copy_later<BYTES>(staged_input(half, 3), dout + from);
            if (!dir) copy_later<BYTES>(staged_input(half, 4), y + from);
            if (prompt) copy_later<BYTES>(staged_input(half, 5), prompt + from);
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
            if (i < CHUNK * COLUMNS) bc[i + at.lane] = next_bc[k][0];
        }
    }

    __device__ __forceinline__ void load_kept(u32 chunk) {
        if (channel + PAIR * at.pair < e) {
            const float* from = states + static_cast<size_t>(chunk) * (e * N);
            load<STATES>(from, state[0]);
            load<STATES>(from + e / PAIR * N, state[1]);
        }
    }

    // Turns the inputs of a chunk into what the walk reads; the first direction writes dz, and zeros for x.
    __device__ __forceinline__ void stage(u32 chunk) {
        wait_for_copies();
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const u32 step = half * 8 + staged_step();
            const u32 from = (row + token(chunk, step)) * e + channel + run();
            const bool is = exists(from);
            float* to = tokens + step * ROW;
            Raw<T, RUN> u, delta, z, dout, y, prompt;
            if (is) {
                u.load(reinterpret_cast<const T*>(staged_input(half, 0)));
                delta.load(reinterpret_cast<const T*>(staged_input(half, 1)));
                z.load(reinterpret_cast<const T*>(staged_input(half, 2)));
                dout.load(reinterpret_cast<const T*>(staged_input(half, 3)));
                if (!dir) y.load(reinterpret_cast<const T*>(staged_input(half, 4)));
                if (this->prompt) prompt.load(reinterpret_cast<const T*>(staged_input(half, 5)));
            }
            float dz[RUN];
#pragma unroll
            for (int i = 0; i < RUN; i++) {
                const float x = delta[i] + bias[i], half_dout = 0.5f * dout[i];
                float t, u_i = u[i], gate;
                if (this->prompt) u_i += prompt[i];
                const float d = is ? softplus(x, t) : 0.0f;
                // softplus' = 1 / (1 + e^-x), over softplus: the gradient of delta needs both its forms.
                const float ratio = is ? (x < 0.0f ? t : 1.0f) * reciprocal(fmaxf(d, 1e-30f) * (1.0f + t)) : 0.0f;
                dz[i] = half_dout * y[i] * silu_slope(z[i], gate);
                const float dy = is ? half_dout * gate : 0.0f;
                if (TRAINED) dd[i] = fmaf(dy, u_i, dd[i]);
                const u32 slot = (run() + i) ^ order(step);
                store_four(to + 4 * slot, d, d * u_i, dy, ratio);
            }
            if (!dir && is) {
                const u32 to_x = 2 * from - (channel + run());
                const float zero[RUN] = {};
                store<RUN>(dxz + to_x, zero);
                store<RUN>(dxz + to_x + e, dz);
            }
        }
    }

    // (delta, delta u, dy, ratio) of the channel of register k, at a step that is `i` after a multiple of SUB.
    __device__ __forceinline__ const float4& at_token(const float* sub, int i, int k) const {
        return (reinterpret_cast<const float4*>(sub) + (at.channel() ^ k ^ order(i)))[i * (ROW / 4)];
    }

    // The states of SUB tokens; what was before each token and its decay are left where `visit` puts them.
    template <typename Visit>
    __device__ __forceinline__ void advance(u32 sub, Visit visit) {
        const float* tokens = this->tokens + sub * (SUB * ROW);
        const float* bc = this->bc + sub * (SUB * COLUMNS) + at.part * STATES;
#pragma unroll
        for (int i = 0; i < SUB; i++) {
            float b[STATES];
            load<STATES>(bc + i * COLUMNS, b);
#pragma unroll
            for (int k = 0; k < PAIR; k++) {
                const float2 d = *reinterpret_cast<const float2*>(&at_token(tokens, i, k));
#pragma unroll
                for (int j = 0; j < STATES; j++) {
                    const float decay = exp2_approx(d.x * rate[k][j]);
                    visit(i, k, j, decay, state[k][j]);
                    state[k][j] = fmaf(decay, state[k][j], d.y * b[j]);
                }
            }
        }
    }

    __device__ __forceinline__ float* kept_in_chunk(u32 sub) const { return kept + (sub * WARP + at.lane) * STATES; }

    __device__ __forceinline__ void keep(u32 sub) const {
#pragma unroll
        for (int k = 0; k < PAIR; k++) {
            store_four(kept_in_chunk(2 * sub + k), state[k][0], state[k][1], state[k][2], state[k][3]);
        }
    }

    // True where a sub has tokens that exist.
    __device__ __forceinline__ bool any(u32 chunk, u32 sub) const {
        return chunk * CHUNK + (dir ? SUBS - 1 - sub : sub) * SUB < l;
    }

    // dB and dC of two tokens: the sums over the warp's channels of the lanes' parts, left in the tokens' own rows.
    __device__ __forceinline__ void sum_parts(float* rows, const float (&db)[2][STATES], const float (&dc)[2][STATES]) {
#pragma unroll
        for (int i = 0; i < 2; i++) {
            float* to = parts + 2 * i * SUMS + at.lane * STATES;
            store_four(to, db[i][0], db[i][1], db[i][2], db[i][3]);
            store_four(to + SUMS, dc[i][0], dc[i][1], dc[i][2], dc[i][3]);
        }
        __syncwarp();
        const u32 first = at.lane * SHARE;
        const float* from = parts + first / N * SUMS + first % N;
        float sum[SHARE], part[SHARE];
        load<SHARE>(from, sum);
#pragma unroll
        for (int g = 1; g < WARP / At::GROUP; g++) {
            load<SHARE>(from + g * N, part);
#pragma unroll
            for (int i = 0; i < SHARE; i++) sum[i] += part[i];
        }
        store<SHARE>(rows + first / COLUMNS * ROW + first % COLUMNS, sum);
        __syncwarp();
    }

    // The gradients of SUB tokens, from the last to the first.
    __device__ __forceinline__ void sub_chunk(u32 chunk, u32 sub) {
        float decay[SUB][PAIR][STATES], before[SUB][PAIR][STATES];
        advance(sub, [&](int i, int k, int j, float d, float s) { decay[i][k][j] = d, before[i][k][j] = s; });
        float* tokens = this->tokens + sub * (SUB * ROW);
        const float* bc = this->bc + sub * (SUB * COLUMNS) + at.part * STATES;
        const bool mine = at.finishes() && channel + at.channel() < e;
#pragma unroll
        for (int two = SUB - 2; two >= 0; two -= 2) {
            float db[2][STATES], dc[2][STATES], through_b[2][PAIR], through_a[2][PAIR];
#pragma unroll
            for (int odd = 1; odd >= 0; odd--) {
                const int i = two + odd;
                float b[STATES], c[STATES];
                load<STATES>(bc + i * COLUMNS, b);
                load<STATES>(bc + i * COLUMNS + N, c);
#pragma unroll
                for (int k = 0; k < PAIR; k++) {
                    const float4 d = at_token(tokens, i, k);
#pragma unroll
                    for (int j = 0; j < STATES; j++) {
                        const float after = i + 1 < SUB ? before[i + 1][k][j] : state[k][j];
                        const float grad = fmaf(d.z, c[j], carry[k][j]);
                        dc[odd][j] = k ? fmaf(d.z, after, dc[odd][j]) : d.z * after;
                        db[odd][j] = k ? fmaf(grad, d.y, db[odd][j]) : grad * d.y;
                        through_b[odd][k] = j ? fmaf(grad, b[j], through_b[odd][k]) : grad * b[j];
                        carry[k][j] = grad * decay[i][k][j];
                        const float decayed = carry[k][j] * before[i][k][j];
                        through_a[odd][k] = j ? fmaf(decayed, rate[k][j], through_a[odd][k]) : decayed * rate[k][j];
                        if (TRAINED) da[k][j] = fmaf(decayed, d.x, da[k][j]);
                    }
                }
            }
            float b_sum[At::OWN], a_sum[At::OWN];
            at.fold(through_b, b_sum);
            at.fold(through_a, a_sum);
            if (mine) {
#pragma unroll
                for (int own = 0; own < At::OWN; own++) {
                    const u32 i = two + at.token(own);
                    const u32 slot = at.channel() ^ order(i);
                    const float4 d = reinterpret_cast<const float4*>(tokens + i * ROW)[slot];
                    const u32 to = (row + token(chunk, sub * SUB + i)) * e + channel + at.channel();
                    const float grad = d.w * fmaf(d.y, b_sum[own], LN2 * d.x * a_sum[own]);
                    if (to < end) {
                        put(du + to, fmaf(d.x, b_sum[own], skip * d.z));
                        put(ddelta + to, grad);
                    }
                    if (TRAINED) dbias += grad;
                }
            }
            sum_parts(tokens + two * ROW, db, dc);
        }
    }

    // The sums over the block's warps of a chunk's dB and dC.
    __device__ __forceinline__ void sum_warps(u32 chunk) const {
#pragma unroll 1
        for (u32 i = warp * WARP + at.lane; i < CHUNK * COLUMNS; i += warps * WARP) {
            const u32 step = i / COLUMNS, t = token(chunk, step);
            if (t >= l) continue;
            const float* from = all_tokens + step * ROW + i % COLUMNS;
            float sum = from[0];
#pragma unroll 1
            for (u32 w = 1; w < busy; w++) sum += from[w * (CHUNK * ROW)];
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
                load<STATES>(kept_in_chunk(2 * sub), state[0]);
                load<STATES>(kept_in_chunk(2 * sub + 1), state[1]);
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

    // The image's gradients of A_log, D and delta_bias: [2 b e n], [2 b e].
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
