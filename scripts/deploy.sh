#!/usr/bin/env bash
# Puts the service onto a Kubernetes cluster that has the KubeRay operator, waits until it is ready, and says how to reach it.
#
# The manifests are deploy/overlays; this adds what they cannot know: the namespace, the image, the hub's token. It may be run again at any
# time: what is as it should be stays as it is. docs/kubernetes.md tells the whole story.
set -euo pipefail

readonly SERVICE=whisper-streaming
readonly SECRET=whisper-streaming-secrets
readonly CRD=rayservices.ray.io
# Owner of the fields that are applied; other keys of the Secret, put there by others, stay.
readonly FIELD_MANAGER=whisper-streaming-deploy

# 2 a mistake on the command line
readonly EXIT_USAGE=2 EXIT_NO_KUBECTL=3 EXIT_NO_CLUSTER=4 EXIT_NO_NAMESPACE=5 EXIT_NO_CRD=6 EXIT_BAD_TOKEN=7 EXIT_REFUSED=8 EXIT_NOT_READY=9

overlay=cpu namespace=$SERVICE operator_namespace=kuberay-system image='' gpu_image='' context='' timeout_seconds=1800
dry_run=false delete=false create_namespace=false
poll_seconds=${WHISPER_DEPLOY_POLL_SECONDS:-5}

usage() {
  cat <<EOF
Usage: scripts/deploy.sh [options]

  --overlay cpu|gpu|eks      variant in deploy/overlays (default: cpu)
  --namespace NAME           default: $SERVICE
  --create-namespace         make it where it is missing, with deploy/namespace.yaml's labels
  --image NAME:TAG           image of the head, the servers and, in cpu, the recognisers
                             (default: the overlay's, whisper-streaming:VERSION-cpu)
  --gpu-image NAME:TAG       image of the recognisers in gpu and eks
                             (default: --image with -gpu for -cpu at its end)
  --operator-namespace NAME  where KubeRay's operator runs; network policies let it in
                             (default: kuberay-system)
  --context NAME             of the kubeconfig (default: the current one)
  --timeout SECONDS          how long to wait for the service to be ready, or gone (default: 1800,
                             for nodes that are yet to come, images that are yet to be pulled)
  --dry-run                  change nothing: have the API server check the objects where it can
                             be reached, otherwise print them
  --delete                   take the service away; namespace and Secret stay
  --help

Environment:
  HUGGING_FACE_HUB_TOKEN     for models of the hub that need one, in base64, as
                             export HUGGING_FACE_HUB_TOKEN=\$(echo -n 'token' | base64)
                             It goes into the Secret $SECRET and is never shown.

Exit codes: $EXIT_USAGE usage, $EXIT_NO_KUBECTL no kubectl, $EXIT_NO_CLUSTER no such context or no answer, $EXIT_NO_NAMESPACE no such namespace, $EXIT_NO_CRD KubeRay missing,
$EXIT_BAD_TOKEN token not in base64, $EXIT_REFUSED the cluster refused an object, $EXIT_NOT_READY not ready, or not gone, in time.
EOF
}

fail() {
  local code=$1
  shift
  printf 'deploy.sh: %s\n' "$@" >&2
  exit "$code"
}

say() { printf '%s\n' "$*"; }

parse_options() {
  while (($# > 0)); do
    case $1 in
      --overlay | --namespace | --operator-namespace | --image | --gpu-image | --context | --timeout)
        (($# > 1)) && [[ -n $2 ]] || fail $EXIT_USAGE "$1 needs a value; see --help."
        local name=${1#--}
        [[ $name == timeout ]] && name=timeout_seconds
        printf -v "${name//-/_}" '%s' "$2"
        shift 2
        ;;
      --create-namespace | --dry-run | --delete)
        local flag=${1#--}
        printf -v "${flag//-/_}" true
        shift
        ;;
      --help | -h)
        usage
        exit 0
        ;;
      *) fail $EXIT_USAGE "unknown option $1; see --help." ;;
    esac
  done
  case $overlay in
    cpu | gpu | eks) ;;
    *) fail $EXIT_USAGE "--overlay is cpu, gpu or eks, not $overlay." ;;
  esac
  [[ $timeout_seconds =~ ^[0-9]+$ ]] || fail $EXIT_USAGE "--timeout is a number of seconds, not $timeout_seconds."
  local label='^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'
  [[ $namespace =~ $label && ${#namespace} -le 63 ]] || fail $EXIT_USAGE "--namespace: $namespace is no name of a namespace."
  [[ $operator_namespace =~ $label && ${#operator_namespace} -le 63 ]] ||
    fail $EXIT_USAGE "--operator-namespace: $operator_namespace is no name of a namespace."
  local reference='^[A-Za-z0-9][A-Za-z0-9._/:@-]*$'
  [[ -z $image || $image =~ $reference ]] || fail $EXIT_USAGE "--image: $image is no name of an image."
  [[ -z $gpu_image || $gpu_image =~ $reference ]] || fail $EXIT_USAGE "--gpu-image: $gpu_image is no name of an image."
  if [[ $overlay == cpu ]]; then
    [[ -z $gpu_image ]] || fail $EXIT_USAGE "--gpu-image is for the overlays gpu and eks."
  elif [[ -n $image && -z $gpu_image ]]; then
    [[ $image == *-cpu ]] || fail $EXIT_USAGE "--image $image does not end in -cpu: say --gpu-image, too."
    gpu_image=${image%-cpu}-gpu
  fi
}

# The token leaves the environment at once: no program that is started from here on inherits it.
take_token() {
  token=${HUGGING_FACE_HUB_TOKEN:-}
  unset HUGGING_FACE_HUB_TOKEN
  [[ -n $token ]] || return 0
  # base64 breaks long lines
  token=${token//[$' \t\r\n']/}
  local hint="expected base64, as of: export HUGGING_FACE_HUB_TOKEN=\$(echo -n 'token' | base64)"
  [[ $token != hf_* ]] || fail $EXIT_BAD_TOKEN "HUGGING_FACE_HUB_TOKEN is the token itself;" "$hint"
  [[ $token =~ ^[A-Za-z0-9+/]+={0,2}$ && $((${#token} % 4)) == 0 ]] || fail $EXIT_BAD_TOKEN "HUGGING_FACE_HUB_TOKEN is not base64;" "$hint"
  # A shell drops line breaks at the end of what it reads, hence the x. No here-string, which may be a file for a moment.
  local decoded
  decoded=$(
    printf '%s' "$token" | base64 -d | tr -d '\0'
    printf x
  )
  decoded=${decoded%x}
  [[ $decoded != *$'\n' ]] || fail $EXIT_BAD_TOKEN "HUGGING_FACE_HUB_TOKEN holds a line break: use echo -n."
  [[ $decoded =~ ^[!-~]+$ ]] || fail $EXIT_BAD_TOKEN "HUGGING_FACE_HUB_TOKEN is base64 of something that is no token;" "$hint"
}

# kubectl with the context, everything else as given.
k() { kubectl ${context:+--context "$context"} "$@"; }

check_kubectl() {
  command -v kubectl >/dev/null || fail $EXIT_NO_KUBECTL "kubectl is not on the PATH: https://kubernetes.io/docs/tasks/tools/ (1.27 or newer)."
  local version
  version=$(kubectl version --client -o json 2>/dev/null | sed -n 's/.*"kustomizeVersion": *"v\([0-9]*\).*/\1/p')
  ((${version:-0} >= 5)) || fail $EXIT_NO_KUBECTL "this kubectl is too old: its Kustomize is ${version:-unknown}, 5 is needed (kubectl 1.27 or newer)."
}

check_context() {
  if [[ -n $context ]]; then
    kubectl config get-contexts "$context" >/dev/null 2>&1 || fail $EXIT_NO_CLUSTER "the kubeconfig has no context $context: kubectl config get-contexts"
  else
    kubectl config current-context >/dev/null 2>&1 || fail $EXIT_NO_CLUSTER "the kubeconfig has no current context: use --context, or kubectl config use-context."
  fi
}

is_reachable() { k get --raw /version --request-timeout=10s >/dev/null 2>&1; }

check_cluster() {
  check_context
  is_reachable || fail $EXIT_NO_CLUSTER "the API server does not answer, or not to you: kubectl ${context:+--context $context }get --raw /version"
  k get crd "$CRD" -o name >/dev/null 2>&1 || fail $EXIT_NO_CRD \
    "the cluster does not know RayService ($CRD): install KubeRay's operator," \
    "helm install kuberay-operator kuberay-operator --repo https://ray-project.github.io/kuberay-helm/ --version 1.6.2 --namespace $operator_namespace --create-namespace"
}

check_namespace() {
  k get namespace "$namespace" -o name >/dev/null 2>&1 && return
  $create_namespace || fail $EXIT_NO_NAMESPACE "there is no namespace $namespace: use --create-namespace, or kubectl create namespace $namespace."
  if $dry_run; then
    say "would create the namespace $namespace"
  else
    sed "s/^  name: .*/  name: $namespace/" "$root/deploy/namespace.yaml" | k apply --server-side --field-manager=$FIELD_MANAGER -f - ||
      fail $EXIT_REFUSED "the namespace $namespace could not be made."
  fi
}

# A kustomization of the moment on top of the overlay. Kustomize takes no absolute paths, hence the way from one folder to the other.
write_kustomization() {
  local folder=$1 here up
  here=$(cd "$folder" && pwd -P)
  up=$(sed 's#[^/]\{1,\}#..#g; s#^/##' <<<"$here")
  {
    say "apiVersion: kustomize.config.k8s.io/v1beta1"
    say "kind: Kustomization"
    say "namespace: $namespace"
    say "resources: ['$up$root/deploy/overlays/$overlay']"
    say "patches:"
    say "  - target: {kind: NetworkPolicy, name: $SERVICE-operator}"
    say "    patch: |-"
    say "      - {op: replace, path: /spec/ingress/0/from/0/namespaceSelector/matchLabels/kubernetes.io~1metadata.name, value: $operator_namespace}"
    if [[ -n $image ]]; then
      say "  - target: {kind: RayService, name: $SERVICE}"
      say "    patch: |-"
      local groups=/spec/rayClusterConfig/workerGroupSpecs asr_image=${gpu_image:-$image}
      say "      - {op: test, path: $groups/0/groupName, value: server}"
      say "      - {op: test, path: $groups/1/groupName, value: asr}"
      say "      - {op: replace, path: /spec/rayClusterConfig/headGroupSpec/template/spec/containers/0/image, value: '$image'}"
      say "      - {op: replace, path: $groups/0/template/spec/containers/0/image, value: '$image'}"
      say "      - {op: replace, path: $groups/1/template/spec/containers/0/image, value: '$asr_image'}"
      say "      - {op: replace, path: $groups/1/template/spec/initContainers/0/image, value: '$asr_image'}"
    elif [[ -n $gpu_image ]]; then
      say "  - target: {kind: RayService, name: $SERVICE}"
      say "    patch: |-"
      local groups=/spec/rayClusterConfig/workerGroupSpecs
      say "      - {op: test, path: $groups/1/groupName, value: asr}"
      say "      - {op: replace, path: $groups/1/template/spec/containers/0/image, value: '$gpu_image'}"
      say "      - {op: replace, path: $groups/1/template/spec/initContainers/0/image, value: '$gpu_image'}"
    fi
  } >"$folder/kustomization.yaml"
}

render() {
  kubectl kustomize "$work" >"$work/manifests" || fail $EXIT_REFUSED "the manifests in deploy/overlays/$overlay cannot be put together."
}

# Arguments: what to add to `kubectl apply`. On standard input, for command lines are public on a machine.
apply_token() {
  [[ -n $token ]] || return 0
  printf '{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "%s", "namespace": "%s"}, "type": "Opaque", "data": {"HUGGING_FACE_HUB_TOKEN": "%s"}}' \
    "$SECRET" "$namespace" "$token" |
    k apply --server-side --force-conflicts --field-manager=$FIELD_MANAGER "$@" -f - >/dev/null ||
    fail $EXIT_REFUSED "the Secret $SECRET could not be written."
  say "secret/$SECRET: HUGGING_FACE_HUB_TOKEN ${1:+would be }set"
}

apply_manifests() {
  k apply --server-side --force-conflicts --field-manager=$FIELD_MANAGER "$@" -f "$work/manifests" ||
    fail $EXIT_REFUSED "the cluster refused a part of deploy/overlays/$overlay; see above."
}

# The network policies last: pods take minutes to end, with Ray's ports open until then.
delete_manifests() {
  k delete rayservice "$SERVICE" --namespace "$namespace" --ignore-not-found || fail $EXIT_REFUSED "the RayService could not be deleted; see above."
  say "waiting for its pods to end, $timeout_seconds s at most"
  k wait pod --for=delete --namespace "$namespace" --selector "app.kubernetes.io/part-of=$SERVICE" --timeout "${timeout_seconds}s" ||
    fail $EXIT_NOT_READY "pods are still there, and with them the network policies: run this again when they are gone."
  k delete --ignore-not-found -f "$work/manifests" || fail $EXIT_REFUSED "not everything could be deleted; see above."
  say "deleted; the namespace $namespace and the Secret $SECRET are still there"
}

# What of a RayService tells how far it is, in one line: generations, the two conditions, endpoints, applications.
status_of_service() {
  k get rayservice "$SERVICE" --namespace "$namespace" -o jsonpath='{.metadata.generation}|{.status.observedGeneration}|{.status.conditions[?(@.type=="Ready")].status}|{.status.conditions[?(@.type=="UpgradeInProgress")].status}|{.status.numServeEndpoints}|{.status.activeServiceStatus.applicationStatuses.whisper.status}|{.status.pendingServiceStatus.applicationStatuses.whisper.status}' 2>/dev/null
}

wait_until_ready() {
  local started=$SECONDS shown='' ready_polls=0 line
  local generation observed ready upgrading endpoints active pending
  say "waiting for $SERVICE, $timeout_seconds s at most"
  while true; do
    line=$(status_of_service || true)
    IFS='|' read -r generation observed ready upgrading endpoints active pending <<<"$line"
    # The operator notices a change first and says in its next round that it makes a new cluster of it: twice, then.
    if [[ -n $observed && $observed == "$generation" && $ready == True && $upgrading == False && $active == RUNNING ]]; then
      ready_polls=$((ready_polls + 1))
      ((ready_polls < 2)) || break
    else
      ready_polls=0
    fi
    local text="endpoints ${endpoints:-0}, application ${active:-${pending:-not there yet}}"
    [[ $upgrading == True ]] && text="new cluster beside the old one, its application ${pending:-not there yet}; $text"
    [[ $observed == "$generation" ]] || text="the operator has not seen it yet"
    if [[ $text != "$shown" ]]; then
      say "  $((SECONDS - started)) s: $text"
      shown=$text
    fi
    if ((SECONDS - started >= timeout_seconds)); then
      fail $EXIT_NOT_READY "not ready after $timeout_seconds s. What to look at:" \
        "kubectl ${context:+--context $context }--namespace $namespace describe rayservice $SERVICE" \
        "kubectl ${context:+--context $context }--namespace $namespace get pods,events"
    fi
    sleep "$poll_seconds"
  done
  say "ready after $((SECONDS - started)) s: ${endpoints:-0} endpoints"
}

print_access() {
  local kubectl="kubectl ${context:+--context $context }--namespace $namespace"
  # Not svc/whisper-streaming-serve-svc: kubectl may pick a recogniser's pod for it, which has no port for clients.
  cat <<EOF

the service, on http://localhost:8000:
  $kubectl port-forward \$($kubectl get pods --selector ray.io/group=server --field-selector status.phase=Running --output name | head -n 1) 8000:8000
Ray's dashboard, on http://localhost:8265:
  $kubectl port-forward svc/$SERVICE-head-svc 8265:8265
in the cluster: http://$SERVICE-serve-svc.$namespace:8000
EOF
}

main() {
  parse_options "$@"
  take_token
  root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
  check_kubectl
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  write_kustomization "$work"

  if $dry_run; then
    render
    if ! (check_context) 2>/dev/null || ! is_reachable; then
      cat "$work/manifests"
      printf 'deploy.sh: no API server: rendered only, checked by nobody.\n' >&2
      return
    fi
    check_cluster
    check_namespace
    if k get namespace "$namespace" -o name >/dev/null 2>&1; then
      apply_token --dry-run=server
      apply_manifests --dry-run=server
      say "dry run: the API server would take all of it; nothing was changed"
    else
      say "dry run: without the namespace the API server cannot check what is to be in it"
    fi
    return
  fi

  check_cluster
  render
  if $delete; then
    delete_manifests
    return
  fi
  check_namespace
  apply_token
  apply_manifests
  wait_until_ready
  print_access
}

main "$@"
