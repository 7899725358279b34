// docker buildx bake -f docker-bake.hcl            builds comfy-worker:dev
// docker buildx bake -f docker-bake.hcl all        and the variant for drivers of CUDA 12
// IMAGE=me/comfy-worker VERSION=1.2.0 docker buildx bake -f docker-bake.hcl --push all
// (Without -f, bake reads docker-compose.yml as well.)

variable "IMAGE" {
  default = "comfy-worker"
}

variable "VERSION" {
  default = "dev"
}

variable "REVISION" {
  default = "unknown"
}

variable "SOURCE" {
  default = ""
}

variable "BASE_IMAGE" {
  default = "ubuntu:24.04"
}

group "default" {
  targets = ["base"]
}

group "all" {
  targets = ["base", "cuda12"]
}

target "base" {
  context    = "."
  target     = "base"
  platforms  = ["linux/amd64"]
  tags       = ["${IMAGE}:${VERSION}", "${IMAGE}:${VERSION}-base"]
  args = {
    BASE_IMAGE = BASE_IMAGE
    VERSION    = VERSION
    REVISION   = REVISION
    SOURCE     = SOURCE
  }
}

// PyPI's torch is built for CUDA 13, which wants a driver of version 580 or newer; this one runs on older drivers.
target "cuda12" {
  inherits = ["base"]
  tags     = ["${IMAGE}:${VERSION}-cuda12"]
  args = {
    TORCH_INDEX_URL = "https://download.pytorch.org/whl/cu126"
  }
}
