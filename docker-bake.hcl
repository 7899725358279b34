// docker buildx bake -f docker-bake.hcl            builds comfy-worker:dev
// docker buildx bake -f docker-bake.hcl all        also builds the variant for CUDA 12 drivers
// IMAGE=me/comfy-worker VERSION=1.2.0 docker buildx bake -f docker-bake.hcl --push all
// Without -f, bake also reads docker-compose.yml.

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

// PyPI's torch is built for CUDA 13 and needs a driver of version 580 or newer. This variant runs on older drivers.
target "cuda12" {
  inherits = ["base"]
  tags     = ["${IMAGE}:${VERSION}-cuda12"]
  args = {
    TORCH_INDEX_URL = "https://download.pytorch.org/whl/cu126"
  }
}
