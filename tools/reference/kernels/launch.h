// What both libraries of the published kernels share: tensors as Python hands them over, and errors as text.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>

// An address on the device, and strides in elements. Absent tensors have the address 0.
struct View {
    void *at;
    int64_t by[4];
};

// nullptr, or what went wrong; the text holds until the next call.
template <typename Work>
const char *told(Work work) {
    static std::string text;
    try {
        work();
        return nullptr;
    } catch (const std::exception &wrong) {
        text = wrong.what();
        return text.c_str();
    }
}

// Whether the driver here can run this library at all.
extern "C" const char *usable() {
    return told([] {
        cudaError_t found = cudaFree(nullptr);
        if (found != cudaSuccess) throw std::runtime_error(cudaGetErrorString(found));
    });
}
