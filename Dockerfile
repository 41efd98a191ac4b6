# An image whose command is nlbench; records lie in the folder that is mounted at /work.
#
#   docker build -t nlbench .                                      for a CPU
#   docker build -t nlbench:cuda --build-arg TORCH=cu130 .         for an NVIDIA GPU: docker run --gpus all …
#   docker run --rm -v "$PWD:/work" nlbench run --model hope --stream split-digits

FROM python:3.12-slim AS build
WORKDIR /source
RUN pip install --no-cache-dir build
COPY . .
RUN python -m build --wheel --outdir /wheel

FROM python:3.12-slim
ARG TORCH=cpu
# Triton compiles what starts its kernels with a C compiler, where there is a GPU
RUN if [ "$TORCH" != cpu ]; then \
        apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*; \
    fi
RUN pip install --no-cache-dir --index-url "https://download.pytorch.org/whl/$TORCH" "torch>=2.11" torchvision
COPY --from=build /wheel /wheel
RUN pip install --no-cache-dir "$(echo /wheel/*.whl)[s3]" && rm -r /wheel
RUN useradd --create-home --uid 1000 nlbench && mkdir /work && chown nlbench /work
USER 1000
WORKDIR /work
ENTRYPOINT ["nlbench"]
CMD ["--help"]
