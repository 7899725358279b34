# The worker's image. It has ComfyUI without models, and the worker, which runs ComfyUI in its own process.
#
#   docker build -t comfy-worker .                     the whole image
#   docker build --build-arg BASE_IMAGE=…              on another Debian or Ubuntu with Python 3.11 or newer
#   docker build --build-arg ENVIRONMENT=comfy-build.yaml   with the models and node packs that this file lists
#   docker buildx bake -f docker-bake.hcl all          the variants of docker-bake.hcl
#   scripts/build_image                                without Docker, with buildah
#
# No CUDA base image is needed: torch brings CUDA's libraries, and the container runtime brings the driver's.
ARG BASE_IMAGE=ubuntu:24.04

# ComfyUI's tree. COMFYUI_REVISION=context takes it from vendor/ of the build context and fetches nothing.
# The caches of apt have different names, because buildah locks a cache until the build ends.
FROM ${BASE_IMAGE} AS comfyui
ARG COMFYUI_REPOSITORY=https://github.com/comfyanonymous/ComfyUI.git
ARG COMFYUI_REVISION=2f35f4a08176d993cded35dac3332be4f7287f41
RUN --mount=type=cache,id=comfyui-apt,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,id=comfyui-lists,target=/var/lib/apt,sharing=locked \
    rm -f /etc/apt/apt.conf.d/docker-clean \
    && apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates git
COPY vendor/ /vendor/
COPY scripts/image/get-comfyui /usr/local/bin/
RUN get-comfyui

FROM ${BASE_IMAGE} AS base
# ffmpeg and OpenCV's libraries are for node packs that work with images and videos.
RUN --mount=type=cache,id=base-apt,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,id=base-lists,target=/var/lib/apt,sharing=locked \
    if [ -f /etc/apt/apt.conf.d/docker-clean ]; then mv /etc/apt/apt.conf.d/docker-clean /etc/docker-clean; fi \
    && apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        ca-certificates ffmpeg git libgl1 libglib2.0-0 libgomp1 libsm6 libtcmalloc-minimal4 libxext6 libxrender1 \
        openssh-server python3 python3-venv wget \
    && if [ -f /etc/docker-clean ]; then mv /etc/docker-clean /etc/apt/apt.conf.d/docker-clean; fi \
    && rm -f /etc/ssh/ssh_host_* \
    && python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "BASE_IMAGE has no Python 3.11 or newer")' \
    && python3 -m venv /opt/venv \
    && python3 -m venv /opt/comfy-cli
ENV PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    VIRTUAL_ENV=/opt/venv \
    PYTHONUNBUFFERED=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_INPUT=1 \
    PIP_PREFER_BINARY=1 \
    PIP_ROOT_USER_ACTION=ignore \
    UV_COMPILE_BYTECODE=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility,video

# torch has its own layer, because it is the largest part of the image and changes least.
ARG TORCH_VERSION=
ARG TORCHVISION_VERSION=
ARG TORCH_INDEX_URL=
COPY requirements.txt requirements-no-deps.txt /opt/comfy-worker/
COPY scripts/image/install-packages /usr/local/bin/
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    install-packages torch
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    install-packages rest
# comfy-cli is for `comfy model download` in images on top of this one. It has its own environment, so that its packages
# do not conflict with ComfyUI's.
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    install-packages comfy-cli

COPY --from=comfyui /comfyui /comfyui
# Some packages move with ComfyUI. If COMFYUI_REVISION is another version, it pins others than requirements.txt.
COPY scripts/image/comfyui-pins /usr/local/bin/
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    install-packages pins
# ComfyUI's page, for `docker run IMAGE editor`, in the version that the tree names.
ARG EDITOR=true
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    if [ "$EDITOR" = true ]; then install-packages editor; fi
RUN python -m compileall -q -j 0 /comfyui > /dev/null || true
COPY scripts/image/comfy scripts/image/comfy-manager-set-mode /usr/local/bin/
COPY scripts/image/start.sh scripts/image/entrypoint scripts/image/healthcheck /
COPY scripts/install-nodes scripts/install_nodes.py scripts/command_line.py /opt/comfy-worker/scripts/
COPY scripts/node_packs /opt/comfy-worker/scripts/node_packs
COPY LICENSE /opt/comfy-worker/
COPY worker/ /opt/comfy-worker/worker/
RUN ln -s /opt/comfy-worker/scripts/install-nodes /usr/local/bin/comfy-node-install \
    && python -c 'import site; print(site.getsitepackages()[0])' \
        | xargs -I{} sh -c 'echo /opt/comfy-worker > {}/comfy-worker.pth' \
    && python -m compileall -q /opt/comfy-worker \
    && comfy --skip-prompt tracking disable \
    && comfy --skip-prompt set-default /comfyui

# Workflows that requests run by name. Images on top of this one, or a mount, put them there.
RUN mkdir /workflows
ENV COMFYUI_PATH=/comfyui \
    WORKFLOWS_DIR=/workflows
# The models and node packs that a file lists: --build-arg ENVIRONMENT=comfy-build.yaml. Without it nothing is fetched.
# LICENSE is only there because COPY needs a file.
ARG ENVIRONMENT=
ARG PREPARE_OPTIONS=
COPY LICENSE ${ENVIRONMENT} /opt/comfy-worker/environment/
COPY scripts/image/prepare-environment /usr/local/bin/
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    --mount=type=secret,id=hf_token --mount=type=secret,id=civitai_token \
    prepare-environment /opt/comfy-worker/environment $PREPARE_OPTIONS
# One start records which node classes ComfyUI's files have, so that the starts of containers can pass over them.
RUN COMFY_ARGS=--cpu python -m worker check > /dev/null || true
# What each node pack does when it is imported, for LAZY_CUSTOM_NODES. Without packs there is nothing to find out.
RUN [ -z "$(find /comfyui/custom_nodes -mindepth 2 -name __init__.py | head -1)" ] \
    || COMFY_ARGS=--cpu python -m worker index || echo "Node packs cannot be indexed, so all are imported at the start"
# Which parts of which files a start reads, so that /start.sh can read them ahead.
COPY scripts/image/program_files.py /opt/comfy-worker/scripts/
RUN COMFY_ARGS=--cpu python /opt/comfy-worker/scripts/program_files.py list /opt/comfy-worker/program-files.json \
        > /dev/null || echo "The program's files cannot be listed, so they are not read ahead"
# SSH sessions do not get the container's environment, so they read it from these files.
RUN printf '%s\n' "PATH=$PATH" "VIRTUAL_ENV=$VIRTUAL_ENV" "COMFYUI_PATH=$COMFYUI_PATH" \
        "WORKFLOWS_DIR=$WORKFLOWS_DIR" > /etc/environment \
    && sed 's/^/export /' /etc/environment > /etc/profile.d/comfy-worker.sh
WORKDIR /
# Asks the local API. RunPod does not use it.
HEALTHCHECK --interval=15s --timeout=5s --start-period=180s CMD ["/healthcheck"]
ARG VERSION=dev
ARG REVISION=unknown
ARG SOURCE=
LABEL org.opencontainers.image.title="comfy-worker" \
      org.opencontainers.image.description="Runs ComfyUI workflows on RunPod inside the worker's own process" \
      org.opencontainers.image.licenses="GPL-3.0-or-later" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# What of this port is reached from outside the container is decided when it is published.
ENV LOCAL_API_HOST=0.0.0.0
EXPOSE 8000 8188
ENTRYPOINT ["/entrypoint"]
CMD ["/start.sh"]
