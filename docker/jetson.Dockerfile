# The capture agent for a Jetson (Orin; JetPack 6), with ONNX Runtime on CUDA and TensorRT:
#
#   docker build -f docker/Dockerfile --target device -t sightline-device:0.1.0 .
#   docker build -f docker/jetson.Dockerfile -t sightline-device-jetson:0.1.0 .
#
# NOT BUILT AND NOT TESTED yet: this needs a Jetson, nvcr.io and GitHub. It shows what is needed and in which versions.
# The target "device" of docker/Dockerfile runs on a Jetson without changes,
# with detection on the CPU: start with that, and measure both. (Published for YuNet at 160x120 on an
# Orin Nano: CPU 2.6 ms, CUDA 5.2 ms. A small detector spends its time on transfers to the GPU and back.)
#
# Why this is a separate file: the npm package onnxruntime-node has no GPU libraries for linux/arm64. Its Node binding
# must be built from source, once, against JetPack's CUDA and TensorRT. On an Orin this takes hours and
# about 8 GB of memory (2 GB for each parallel job): build on an AGX or lower JOBS, and copy the image:
#   docker save sightline-device-jetson:0.1.0 | ssh user@jetson docker load
#
# Run it with --runtime nvidia: it adds the Jetson's own driver libraries to the container at its start
# (compose.jetson.yaml).

# Matching versions. L4T 36.4 is JetPack 6.1 and 6.2: Ubuntu 22.04, CUDA 12.6, cuDNN 9.3, TensorRT 10.3.
# See yours with: cat /etc/nv_tegra_release
ARG L4T_JETPACK=r36.4.0
# A release that builds against TensorRT 10.3; later ones need a later TensorRT. Its JavaScript and its binding come
# from the same source, so they match, whatever version package-lock.json has for other processors.
ARG ONNXRUNTIME=v1.23.2
# The target "device" of docker/Dockerfile, for arm64: build it first, here or elsewhere.
ARG DEVICE=sightline-device:0.1.0

# --- ONNX Runtime with its Node binding ------------------------------------------------------------------------------

FROM nvcr.io/nvidia/l4t-jetpack:${L4T_JETPACK} AS onnxruntime
ARG ONNXRUNTIME
ARG JOBS=2
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      build-essential ca-certificates git python3 python3-pip && rm -rf /var/lib/apt/lists/*
# ONNX Runtime needs a newer CMake than Ubuntu 22.04 has.
RUN pip3 install --no-cache-dir "cmake==3.31.6" "ninja==1.11.1.4"
COPY --from=node:24-bookworm-slim /usr/local/ /usr/local/
RUN git clone --depth 1 --branch "${ONNXRUNTIME}" --recurse-submodules --shallow-submodules \
      https://github.com/microsoft/onnxruntime.git /onnxruntime
WORKDIR /onnxruntime
# 87 is Orin. Tests are left out: they take longer than the build.
RUN ./build.sh --config Release --parallel "${JOBS}" --nvcc_threads 1 --skip_tests --allow_running_as_root \
      --build_shared_lib --build_nodejs \
      --use_cuda --cuda_home /usr/local/cuda --cudnn_home /usr \
      --use_tensorrt --tensorrt_home /usr \
      --cmake_generator Ninja \
      --cmake_extra_defines CMAKE_CUDA_ARCHITECTURES=87 onnxruntime_BUILD_UNIT_TESTS=OFF
# js/node is the npm package; its folder bin holds the binding and the libraries beside it.
RUN mkdir -p /made/onnxruntime-node /made/onnxruntime-common && \
    cp -r js/node/package.json js/node/dist js/node/bin /made/onnxruntime-node/ && \
    cp build/Linux/Release/libonnxruntime.so* build/Linux/Release/libonnxruntime_providers_*.so \
      /made/onnxruntime-node/bin/napi-v*/linux/arm64/ && \
    cp -r js/common/package.json js/common/dist /made/onnxruntime-common/

# --- the rest is the target "device" of docker/Dockerfile ---------------------------------------------------------------

FROM ${DEVICE} AS device

FROM nvcr.io/nvidia/l4t-jetpack:${L4T_JETPACK}
COPY --from=device /usr/local/bin/node /usr/local/bin/sightline /usr/local/bin/
ENV NODE_ENV=production \
    UV_THREADPOOL_SIZE=16 \
    MALLOC_ARENA_MAX=2 \
    MALLOC_MMAP_THRESHOLD_=1048576 \
    MALLOC_TRIM_THRESHOLD_=67108864 \
    ORT_DISABLE_TELEMETRY=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=all
RUN mkdir -p /etc/sightline /var/lib/sightline && chown 1000:1000 /var/lib/sightline
WORKDIR /var/lib/sightline
COPY --from=device /etc/sightline/ /etc/sightline/
COPY --from=device /opt/sightline/ /opt/sightline/
COPY --from=onnxruntime /made/ /opt/sightline/node_modules/
RUN node -e "require('/opt/sightline/node_modules/onnxruntime-node/package.json')"
USER 1000:1000
STOPSIGNAL SIGTERM
VOLUME /var/lib/sightline
HEALTHCHECK --interval=30s --timeout=15s --start-period=60s --retries=3 \
  CMD ["sightline", "healthcheck", "device", "--config", "/etc/sightline/device.yaml"]
ENTRYPOINT ["node", "/opt/sightline/bin/sightline.js"]
CMD ["device", "--config", "/etc/sightline/device.yaml"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Sightline capture agent, Jetson" \
      org.opencontainers.image.description="Reads cameras, finds faces on a Jetson's GPU, and publishes each crop to the broker beside it." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="nvcr.io/nvidia/l4t-jetpack:${L4T_JETPACK}"
