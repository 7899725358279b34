#!/usr/bin/env bash
# Runs a ComfyUI workflow on an endpoint, with curl and jq, and saves the results. See --help.
set -euo pipefail

usage() {
  cat <<'EOF'
usage: curl.sh WORKFLOW.json FOLDER [NAME=FILE ...]

  WORKFLOW.json    from ComfyUI's Workflow (or File) > Export (API)
  FOLDER           where the results go; made if it is missing
  NAME=FILE        a file that the workflow loads, by its name there

environment:
  ENDPOINT_URL     https://api.runpod.ai/v2/<endpoint>; default: http://localhost:8000/v2/local, for scripts/serve
  RUNPOD_API_KEY   RunPod's API key, or the LOCAL_API_TOKEN of a local server that has one

example:
  bash examples/clients/curl.sh examples/scale.json results in.png=photo.png
EOF
}

fail() { echo "$1" >&2; exit "${2:-1}"; }

# call METHOD PATH [CURL ARGUMENT ...]: writes the answer to $temporary/answer.
call() {
  local code
  code=$(curl -sS --max-time 60 -X "$1" -H "@$temporary/headers" -o "$temporary/answer" -w '%{http_code}' \
    "$url/$2" "${@:3}") || fail "$url: no answer"
  [ "$code" = 200 ] || fail "$url: HTTP $code: $(jq -r '.error? // .' "$temporary/answer" 2> /dev/null \
    || head -c 500 "$temporary/answer")"
}

# answer FILTER: applies a filter of jq to the answer of the last call.
answer() { jq -r "$1" "$temporary/answer"; }

write_request() { # WORKFLOW [NAME=FILE ...]
  local argument workflow=$1
  for argument in "${@:2}"; do
    case "$argument" in *=*) ;; *) fail "'$argument' is no NAME=FILE" 2 ;; esac
    [ -r "${argument#*=}" ] || fail "'${argument#*=}' cannot be read" 2
    base64 < "${argument#*=}" | tr -d '\n' > "$temporary/base64"
    jq -n --arg name "${argument%%=*}" --rawfile image "$temporary/base64" '{$name, $image}'
  done > "$temporary/images"
  jq -n --slurpfile workflow "$workflow" --slurpfile images "$temporary/images" \
    '{input: {workflow: $workflow[0], $images}}' > "$temporary/request" || exit 2
}

follow() { # until the job has ended
  local id
  id=$(answer .id)
  trap 'call POST "cancel/$id"; exit 130' INT
  while answer .status | grep -qxE 'IN_QUEUE|IN_PROGRESS'; do
    answer '"\(.status) \(.output | if .percent? then "\(.percent | round) % \(.message)" else "" end)"' >&2
    sleep 1
    call GET "status/$id"
  done
  trap - INT
}

save() { # FOLDER
  local index count name path number
  count=$(answer "$files | length")
  for ((index = 0; index < count; index++)); do
    name=$(basename -- "$(answer "$files[$index].filename")")
    path=$1/$name number=1
    while [ -e "$path" ]; do # Nothing is overwritten.
      number=$((number + 1)) path=$1/${name%.*}-$number.${name##*.}
    done
    if [ "$(answer "$files[$index].type")" = base64 ]; then
      answer "$files[$index].data" | base64 -d > "$path"
    else # The URL is presigned: it needs no API key.
      curl -fsSg --max-time 300 -o "$path" "$(answer "$files[$index].data")" || fail "a file in the bucket cannot be had"
    fi
    echo "$path"
  done
  answer '.output.text[]? | "node \(.node_id): \(.text)"' >&2
}

case "${1:-}" in -h | --help) usage; exit 0 ;; esac
[ $# -ge 2 ] || { usage >&2; exit 2; }
[ -r "$1" ] || fail "'$1' cannot be read" 2
url=${ENDPOINT_URL:-http://localhost:8000/v2/local}
url=${url%/}
files='((.output.images // []) + (.output.files // []))'
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
printf '%s\n' "Authorization: Bearer ${RUNPOD_API_KEY:-none}" 'Content-Type: application/json' > "$temporary/headers"

mkdir -p "$2"
write_request "$1" "${@:3}"
call POST run --data-binary "@$temporary/request"
follow
answer '.output | .errors[]?, .details[]?, .warnings[]?' >&2
[ "$(answer .status)" = COMPLETED ] || fail "$(answer '"\(.status): \(.error // "the job gave nothing")"')"
save "$2"
