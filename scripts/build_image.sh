#!/usr/bin/env bash
# Builds the container image with docker buildx and, with --push, brings it into a registry. docs/container.md tells how to run it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly IMAGE=whisper-streaming
readonly EXIT_USAGE=2 EXIT_NO_DOCKER=3 EXIT_NO_BUILDX=4 EXIT_NO_ENGINE=5 EXIT_NO_AWS=6 EXIT_REGISTRY=7 EXIT_BUILD=8

usage() {
  cat << 'HELP'
Usage: scripts/build_image.sh [options]

Builds the image whisper-streaming:VERSION-TARGET from this checkout.

  --target cpu|gpu     cpu runs anywhere, gpu brings CUDA with it (default: cpu)
  --tag TAG            tag of the image (default: VERSION-TARGET, the version that package.json says)
  --registry HOST/PATH registry and folder before the image's name, for instance
                       123456789012.dkr.ecr.eu-central-1.amazonaws.com/speech
  --platform LIST      platforms, separated by commas; several only with --push, gpu on linux/amd64 only
                       (default: linux/amd64)
  --model NAME         model in the image: a name or a repository of the hub; '' for none, then containers
                       fetch theirs when they start (default: base)
  --precision TYPE     what containers compute in: int8 or float32 on cpu, whose graphs are in the image; float16
                       or float32 on gpu, whose graph a container builds when it starts (default: auto, that is
                       int8 on cpu, and on gpu float16 where the GPU has it)
  --base-image IMAGE   base of the target, for instance with a digest: of cpu a Node.js 24 on Debian 12, of gpu
                       a CUDA 13 with cuDNN on Ubuntu 24.04 (default: see Dockerfile)
  --node-image IMAGE   where gpu has its Node.js from (default: see Dockerfile)
  --push               push the image instead of loading it into this machine's engine. On Amazon ECR it logs in
                       and makes the repository where there is none, with scans on push; other registries need
                       a `docker login` before
  --dry-run            print the commands and run none
  --help               this

Environment:
  HUGGING_FACE_HUB_TOKEN   opens private models and gated ones. The build gets it as a secret: it is in no layer, no
                           history and no command line. As deploy.sh takes it, base64 is fine, too.

Exit codes: 2 wrong option, 3 no docker, 4 no buildx, 5 no running engine, 6 no aws, 7 the registry refuses,
8 the build fails.
HELP
}

fail() {
  local code=$1
  shift
  echo "build_image: $*" >&2
  exit "$code"
}

target=cpu tag='' registry='' platform=linux/amd64 model=base precision=auto base_image='' node_image='' push=false dry_run=false
while (($# > 0)); do
  case $1 in
    --target | --tag | --registry | --platform | --model | --precision | --base-image | --node-image)
      (($# > 1)) || fail $EXIT_USAGE "$1 needs a value; --help names all options"
      name=${1#--}
      printf -v "${name//-/_}" '%s' "$2"
      shift 2
      ;;
    --push) push=true && shift ;;
    --dry-run) dry_run=true && shift ;;
    --help | -h) usage && exit 0 ;;
    *) fail $EXIT_USAGE "unknown option $1; --help names all options" ;;
  esac
done

[[ $target == cpu || $target == gpu ]] || fail $EXIT_USAGE "--target is cpu or gpu, not '$target'"
case $target-$precision in
  *-auto | *-float32 | cpu-int8 | gpu-float16) ;;
  cpu-*) fail $EXIT_USAGE "--precision of the target cpu is auto, int8 or float32, not '$precision'" ;;
  *) fail $EXIT_USAGE "--precision of the target gpu is auto, float16 or float32, not '$precision'" ;;
esac
[[ -n $platform ]] || fail $EXIT_USAGE "--platform is empty"
if [[ $target == gpu && $platform != linux/amd64 ]]; then
  fail $EXIT_USAGE "onnxruntime-node has files for CUDA on linux/amd64 only, not '$platform'"
fi
if [[ $platform == *,* && $push == false ]]; then
  fail $EXIT_USAGE "an engine cannot load an image of several platforms ($platform): add --push"
fi
if [[ $push == true && -z $registry ]]; then fail $EXIT_USAGE "--push needs --registry"; fi
if [[ $target == cpu && -n $node_image ]]; then
  fail $EXIT_USAGE "--node-image is for the target gpu; of cpu it is the --base-image"
fi
if [[ $registry == *://* || $registry == */ ]]; then
  fail $EXIT_USAGE "--registry is HOST or HOST/PATH, without a scheme and a slash at the end, not '$registry'"
fi

version=$(sed -n 's/^  "version": "\([^"]*\)",$/\1/p' package.json)
tag=${tag:-$version-$target}
[[ $tag =~ ^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$ ]] || fail $EXIT_USAGE "'$tag' is no tag: letters, digits, '_', '.' and '-', at most 128"
repository=${registry:+$registry/}$IMAGE
reference=$repository:$tag

build=(docker buildx build --target "$target" --platform "$platform")
build+=(--build-arg "MODEL=$model" --build-arg "PRECISION=$precision")
if [[ -n $base_image && $target == cpu ]]; then build+=(--build-arg "NODE_IMAGE=$base_image"); fi
if [[ -n $base_image && $target == gpu ]]; then build+=(--build-arg "CUDA_IMAGE=$base_image"); fi
if [[ -n $node_image ]]; then build+=(--build-arg "NODE_IMAGE=$node_image"); fi
build+=(--label "org.opencontainers.image.title=$IMAGE" --label "org.opencontainers.image.version=$version")
if revision=$(git rev-parse HEAD 2> /dev/null); then build+=(--label "org.opencontainers.image.revision=$revision"); fi

# buildx reads the secret from its own environment. Echoes of a token in base64, as deploy.sh takes it, decode to one that starts so.
if [[ -n ${HUGGING_FACE_HUB_TOKEN:-} ]]; then
  decoded=$(base64 --decode <<< "$HUGGING_FACE_HUB_TOKEN" 2> /dev/null | tr -d '\0' || true)
  if [[ $decoded == hf_* ]]; then HUGGING_FACE_HUB_TOKEN=$decoded; fi
  export HUGGING_FACE_HUB_TOKEN
  build+=(--secret "id=hub-token,env=HUGGING_FACE_HUB_TOKEN")
fi
if [[ $push == true ]]; then build+=(--push); else build+=(--load); fi
build+=(--tag "$reference" .)

# 123456789012.dkr.ecr.eu-central-1.amazonaws.com/some/path
host=${registry%%/*}
is_ecr=false
if [[ $push == true && $host =~ ^([0-9]{12})\.dkr\.ecr(-fips)?\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?$ ]]; then
  is_ecr=true
  ecr=(--registry-id "${BASH_REMATCH[1]}" --region "${BASH_REMATCH[3]}")
  ecr_name=${repository#*/}
  describe=(aws ecr describe-repositories "${ecr[@]}" --repository-names "$ecr_name")
  create=(aws ecr create-repository "${ecr[@]}" --repository-name "$ecr_name" --image-scanning-configuration scanOnPush=true)
  password=(aws ecr get-login-password --region "${BASH_REMATCH[3]}")
  login=(docker login --username AWS --password-stdin "$host")
fi

# As a shell would take it.
print_command() {
  local line
  printf -v line '%q ' "$@"
  echo "${line% }"
}

if [[ $dry_run == true ]]; then
  if [[ $is_ecr == true ]]; then
    echo "$(print_command "${describe[@]}") || $(print_command "${create[@]}")"
    echo "$(print_command "${password[@]}") | $(print_command "${login[@]}")"
  fi
  print_command "${build[@]}"
  exit 0
fi

command -v docker > /dev/null || fail $EXIT_NO_DOCKER "there is no docker on the PATH: https://docs.docker.com/engine/install/"
docker buildx version > /dev/null 2>&1 ||
  fail $EXIT_NO_BUILDX "docker has no buildx: https://docs.docker.com/build/install-buildx/ (on Debian: apt install docker-buildx)"
if [[ $is_ecr == true ]] && ! command -v aws > /dev/null; then
  fail $EXIT_NO_AWS "there is no aws on the PATH, which logs in to $host: https://docs.aws.amazon.com/cli/"
fi
docker info > /dev/null 2>&1 || fail $EXIT_NO_ENGINE "docker does not reach an engine; 'docker info' says why"

if [[ $is_ecr == true ]]; then
  if ! reason=$("${describe[@]}" 2>&1 > /dev/null); then
    # anything else, such as missing rights, is not mended by making one
    [[ $reason == *RepositoryNotFoundException* ]] || fail $EXIT_REGISTRY "$host does not say whether there is $ecr_name: $reason"
    echo "Making the repository $ecr_name in $host."
    "${create[@]}" > /dev/null || fail $EXIT_REGISTRY "the repository $ecr_name could not be made in $host"
  fi
  "${password[@]}" | "${login[@]}" > /dev/null || fail $EXIT_REGISTRY "no login at $host"
fi

"${build[@]}" || fail $EXIT_BUILD "the build of $reference failed"
if [[ $push == true ]]; then
  echo "Pushed $reference"
else
  gpus=''
  if [[ $target == gpu ]]; then gpus='--gpus all '; fi
  echo "Built $reference. Start it with: docker run --rm $gpus--publish 8000:8000 $reference"
fi
