# The inference server for a Jetson (Orin; JetPack 6), with ONNX Runtime on CUDA and TensorRT:
#
#   docker build -f docker/Dockerfile --target inference -t sightline-inference:0.1.0 .
#   docker build -f docker/Dockerfile --target device -t sightline-device:0.1.0 .
#   docker build -f docker/jetson.Dockerfile -t sightline-device-jetson:0.1.0 .               (hours: it says why)
#   docker build -f docker/jetson-inference.Dockerfile -t sightline-inference-jetson:0.1.0 .
#
# NOT BUILT AND NOT TESTED yet, like jetson.Dockerfile, from whose image it takes ONNX Runtime.

# As in jetson.Dockerfile.
ARG L4T_JETPACK=r36.4.0
# Both for arm64; build them first, here or elsewhere.
ARG DEVICE_JETSON=sightline-device-jetson:0.1.0
ARG INFERENCE=sightline-inference:0.1.0

FROM ${DEVICE_JETSON} AS jetson

FROM ${INFERENCE} AS inference

FROM nvcr.io/nvidia/l4t-jetpack:${L4T_JETPACK}
COPY --from=inference /usr/local/bin/node /usr/local/bin/sightline /usr/local/bin/
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
COPY --from=inference /etc/sightline/ /etc/sightline/
COPY --from=inference /opt/sightline/ /opt/sightline/
COPY --from=jetson /opt/sightline/node_modules/onnxruntime-node/ /opt/sightline/node_modules/onnxruntime-node/
COPY --from=jetson /opt/sightline/node_modules/onnxruntime-common/ /opt/sightline/node_modules/onnxruntime-common/
RUN node -e "require('/opt/sightline/node_modules/onnxruntime-node/package.json')"
USER 1000:1000
STOPSIGNAL SIGTERM
VOLUME /var/lib/sightline
EXPOSE 8500 8501
HEALTHCHECK --interval=30s --timeout=15s --start-period=120s --retries=3 \
  CMD ["sightline", "healthcheck", "inference", "--config", "/etc/sightline/inference.yaml"]
ENTRYPOINT ["node", "/opt/sightline/bin/sightline.js"]
CMD ["inference", "--config", "/etc/sightline/inference.yaml"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Sightline inference server, Jetson" \
      org.opencontainers.image.description="Runs models on a Jetson's GPU for capture agents on other machines, by the Open Inference Protocol." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="nvcr.io/nvidia/l4t-jetpack:${L4T_JETPACK}"
