// The functions of CUDA that candle and this program call.

libraries! {
    driver, &["libcuda.so.1"], "it comes with NVIDIA's driver":
        cuInit cuCtxDestroy_v2 cuCtxGetCurrent cuCtxSetCurrent cuDeviceGet cuDeviceGetAttribute cuDevicePrimaryCtxRelease_v2
        cuDevicePrimaryCtxRetain cuEventCreate cuEventDestroy_v2 cuEventElapsedTime_v2 cuEventRecord
        cuEventSynchronize cuFuncGetAttribute cuFuncSetAttribute cuGetErrorString cuLaunchCooperativeKernel
        cuLaunchKernel cuMemAllocAsync cuMemAlloc_v2 cuMemFreeAsync cuMemFree_v2 cuMemcpyDtoDAsync_v2
        cuMemcpyDtoHAsync_v2 cuMemcpyHtoDAsync_v2 cuMemcpyPeerAsync cuMemsetD8Async cuModuleGetFunction cuModuleLoad
        cuModuleLoadData cuModuleUnload cuStreamDestroy_v2 cuStreamIsCapturing cuStreamSynchronize cuStreamWaitEvent;
    cublas, &["libcublas.so.13", "libcublas.so.12"], "it comes with CUDA's toolkit or its runtime packages; LD_LIBRARY_PATH may name its folder":
        cublasCreate_v2 cublasDestroy_v2 cublasDgemmStridedBatched cublasGemmStridedBatchedEx cublasSetStream_v2;
    curand, &["libcurand.so.10"], "it comes with CUDA's toolkit or its runtime packages; LD_LIBRARY_PATH may name its folder":
        curandCreateGenerator curandDestroyGenerator curandGenerateNormal curandGenerateNormalDouble
        curandSetPseudoRandomGeneratorSeed curandSetStream;
}
