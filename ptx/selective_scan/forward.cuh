// The forward pass of the scan; kernel.cu describes it.
#pragma once
#include "scan.cuh"

enum { TILE = 8 };  // tokens between two barriers

// One warp's channels of one image in one direction. Offsets into tensors have 31 bits; the launch checks that they
// fit.
template <typename T, int N>
struct Forward {
    typedef Lane<N> At;
    enum {
        CHANNELS = At::CHANNELS,
        RUN = At::RUN,
        COLUMNS = 2 * N,            // of B and C
        FETCH = N / 8,              // their values that a thread reads, where 4 warps share them
        FINISH = 2 * TILE * CHANNELS,  // words from what the walk reads of a token to what `finish_token` reads
        ODD = 10 & (CHANNELS - 1),  // odd tokens have another order of channels, so that no bank is used twice
    };
    At at;
    Direction<T> in;
    Prompts<T> prompts;
    const T* xz;
    T *out, *y;
    float* states;                  // of this lane, in the first chunk
    u32 l, e, width;                // of x_dbl
    u32 dir, warp, warps, channel;  // the warp's first channel
    u32 tiles, first;               // token of step 0
    u32 row, end;                   // the image's first row, and where its u ends
    bool sums_in_shared;
    // Offsets into shared memory: of this direction's B and C of two tiles; of this warp's tokens, as (delta, delta u)
    // and after them as (D u, gate); of bias and D of the run of channels that this thread stages; and of the block's
    // sums [l/2 warps 2 CHANNELS].
    u32 bc, tokens, params, sums;
    // The same for this lane: of its channel's first even and first odd token, and of what it finishes.
    u32 even, odd, finish;
    // What `stage` needs, loaded one tile early.
    Raw<T, RUN> next_u, next_delta, next_z, next_prompt;
    T next_bc[FETCH];
    float rate[PAIR][STATES], state[PAIR][STATES];

    // The token of a step of the walk. Where l is no multiple of CHUNK the reverse walk starts beyond the last token.
    // So both walks have the same tiles, and never work on the same one at the same time.
    __device__ __forceinline__ u32 token(u32 step) const { return dir ? first - step : step; }

    // True in the half of the walk where the other direction has been before.
    __device__ __forceinline__ bool second(u32 tile) const { return tile >= tiles / 2; }

    // The token and the first channel that this thread stages.
    __device__ __forceinline__ u32 staged_token() const { return at.lane / 4; }
    __device__ __forceinline__ u32 run() const { return at.lane % 4 * RUN; }

    __device__ __forceinline__ u32 staged_at(u32 tile) const {
        return (row + token(tile * TILE + staged_token())) * e + channel + run();
    }

    __device__ __forceinline__ bool exists(u32 place) const { return place < end && channel + run() < e; }

    __device__ __forceinline__ void fetch(u32 tile) {
        const u32 from = staged_at(tile);
        if (exists(from)) {
            next_u.load(in.u + from);
            next_delta.load(in.delta + from);
            if (prompts.given()) next_prompt.load(prompts.of(dir) + from);
            if (second(tile)) next_z.load(xz + (2 * from - (channel + run()) + e));
        }
#pragma unroll
        for (int k = 0; k < FETCH; k++) {
            const u32 i = (k * warps + warp) * WARP, t = token(tile * TILE + (i + at.lane) / COLUMNS);
            if (i < TILE * COLUMNS && t < l) {
                next_bc[k] = in.x_dbl[(row + t) * width + width - COLUMNS + (i + at.lane) % COLUMNS];
            }
        }
    }

    __device__ __forceinline__ u32 bc_of(u32 tile) const { return bc + tile % 2 * (2 * TILE * COLUMNS); }

    // Turns what was fetched into what the walk reads. Tokens before the first that exists have u = 0 and leave the
    // states at zero. After the last one nothing is read or written any more.
    __device__ __forceinline__ void stage(u32 tile) {
#pragma unroll
        for (int k = 0; k < FETCH; k++) {
            const u32 i = (k * warps + warp) * WARP;
            if (i < TILE * COLUMNS) *words(bc_of(tile) + i + at.lane) = widen(next_bc[k]);
        }
        float bias[RUN], skip[RUN];
        load<RUN>(words(params), bias);
        load<RUN>(words(params + CHANNELS), skip);
        float2 of[RUN], end[RUN];
#pragma unroll
        for (int i = 0; i < RUN; i++) {
            float t, u = next_u[i];
            if (prompts.given()) u += next_prompt[i];
            const float delta = softplus(next_delta[i] + bias[i], t);
            of[i] = make_float2(delta, delta * u);
            end[i] = make_float2(skip[i] * u, 0.0f);
        }
        if (second(tile)) {
#pragma unroll
            for (int i = 0; i < RUN; i++) end[i].y = 0.5f * silu(next_z[i]);
        }
        const u32 t = staged_token();
#pragma unroll
        for (int i = 0; i < RUN; i += 2) {
            float* to = words(tokens + 2 * (t * CHANNELS + ((run() + i) ^ (t % 2 * ODD))));
            if constexpr (RUN == 1) {
                *reinterpret_cast<float2*>(to) = of[0];
                *reinterpret_cast<float2*>(to + FINISH) = end[0];
            } else {
                store_four(to, of[i].x, of[i].y, of[i + 1].x, of[i + 1].y);
                store_four(to + FINISH, end[i].x, end[i].y, end[i + 1].x, end[i + 1].y);
            }
        }
    }

    // Walks two tokens at a time. After them each lane has y of one token and channel, or of two tokens where n is 8.
    __device__ __forceinline__ void walk(u32 tile) {
        const bool second = this->second(tile), mine = at.finishes() && channel + at.channel() < e;
        const float* bc = words(bc_of(tile) + at.part * STATES);
        const u32 t = token(tile * TILE + at.token(0)), two_tokens = dir ? 0 - 2u : 2u;
        u32 sum = sums + (t / 2 * warps * 2 + t % 2) * CHANNELS, to = (row + t) * e + channel + at.channel();
#pragma unroll
        for (int i = 0; i < TILE; i += 2) {
            float part[2][PAIR], y[At::OWN];
            step<true>(bc + i * COLUMNS, even, i, part[0]);
            step<false>(bc + (i + 1) * COLUMNS, odd, i, part[1]);
            at.fold(part, y);
            if (mine) {
                finish_token(second, y[0], words(finish) + 2 * i * CHANNELS, sum, to);
                if constexpr (At::OWN == 2) {
                    const u32 forth = dir ? 0 - 1u : 1u;
                    finish_token(second, y[1], words(odd) + FINISH + 2 * i * CHANNELS, sum + forth * CHANNELS,
                                 to + forth * e);
                }
            }
            sum += two_tokens * warps * CHANNELS, to += two_tokens * e;
        }
    }

    // Takes the states of this lane through one token, and gives their part of y.
    template <bool POLYNOMIAL>
    __device__ __forceinline__ void step(const float* bc, u32 first, int i, float (&y)[PAIR]) {
        float b[STATES], c[STATES];
        load<STATES>(bc, b);
        load<STATES>(bc + N, c);
#pragma unroll
        for (int k = 0; k < PAIR; k++) {
            const float2 d = *reinterpret_cast<const float2*>(words(k ? first ^ 2 : first) + 2 * i * CHANNELS);
#pragma unroll
            for (int j = 0; j < STATES; j++) {
                const float x = d.x * rate[k][j];
                const float decay = POLYNOMIAL && k == 0 && j == 0 ? exp2_polynomial(x) : exp2_approx(x);
                state[k][j] = fmaf(decay, state[k][j], d.y * b[j]);
                y[k] = j == 0 ? state[k][j] * c[j] : fmaf(state[k][j], c[j], y[k]);
            }
        }
    }

    // The direction that comes to a token first leaves its y. The second adds its own, halves and gates.
    __device__ __forceinline__ void finish_token(bool second, float y, const float* of, u32 sum, u32 to) const {
        y += of[0];
        if (sums_in_shared) {
            if (second) y += *words(sum);
            else *words(sum) = y;
        } else if (second && to < end) {
            y += widen(out[to]);
        }
        if (to < end && (second || !sums_in_shared)) {
            if (second && this->y) put(this->y + to, y);
            put(out + to, second ? y * of[1] : y);
        }
    }

    __device__ __forceinline__ void keep_states(u32 tile) const {
        const u32 chunk = token(tile * TILE) / CHUNK;
        if (channel + PAIR * at.pair < e) {
            float* to = states + static_cast<size_t>(chunk) * (e * N);
            store<STATES>(to, state[0]);
            store<STATES>(to + e / PAIR * N, state[1]);
        }
    }

    __device__ __forceinline__ void walk_all() {
        fetch(0);
#pragma unroll 1
        for (u32 tile = 0; tile < tiles; tile++) {
            stage(tile);
            __syncthreads();
            if (tile + 1 < tiles) fetch(tile + 1);
            if (channel < e) {
                if (states && tile % (CHUNK / TILE) == 0) keep_states(tile);
                if (token(tile * TILE) / TILE * TILE < l) walk(tile);
            }
            __syncwarp();
        }
    }
};
