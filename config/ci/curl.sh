#!/usr/bin/env bash
# Releases a version through the HTTP API with curl and jq alone, waits for its end, and exits as `rollout` does.
# Usage: ROLLOUT_SERVER=https://… ROLLOUT_TOKEN_FILE=… IDEMPOTENCY_KEY=… curl.sh NAMESPACE SERVICE VERSION
set -euo pipefail

namespace=$1 service=$2 version=$3
: "${ROLLOUT_SERVER:?where the API is}" "${ROLLOUT_TOKEN_FILE:?where the token is}"
: "${IDEMPOTENCY_KEY:?a name for this run and attempt: asking again with it starts nothing new}"
deadline=$((SECONDS + ${TIMEOUT_SECONDS:-5400}))

work=$(mktemp -d)
asking="" release=""
leave() {
  [ -z "$asking" ] || kill "$asking" 2> /dev/null || true
  rm -rf "$work"
}
trap leave EXIT

# ask METHOD PATH [BODY]: the status in $code (000 if nobody answered), the answer in $work/answer.
# The token goes through a file descriptor: an argument is for everybody on the machine to read.
# In the background, because bash runs a trap only when the command in the foreground is over.
ask() {
  curl --silent --show-error --max-time 40 --output "$work/answer" --write-out '%{http_code}' \
    --config <(printf 'header = "Authorization: Bearer %s"\n' "$(tr -d '\r\n' < "$ROLLOUT_TOKEN_FILE")") \
    --header "Content-Type: application/json" --header "Idempotency-Key: $IDEMPOTENCY_KEY" \
    --request "$1" ${3:+--data "$3"} "$ROLLOUT_SERVER$2" > "$work/code" &
  asking=$!
  wait "$asking" || true
  asking=""
  code=$(cat "$work/code")
  code=${code:-000}
}

# explain: an error of RFC 9457, on stderr.
explain() {
  jq --raw-output '"\(.title): \(.detail // "")", (.errors[]? | "  \(.pointer): \(.detail)")' \
    "$work/answer" >&2 2> /dev/null || echo "the API answered $code" >&2
}

# refused: explain, and exit as `rollout` would.
refused() {
  explain
  case $code in
    401 | 403) exit 21 ;;
    400 | 404 | 413 | 415) exit 2 ;;
    409 | 422 | 423) exit 22 ;;
    *) exit 20 ;;
  esac
}

# cancelled NUMBER: SIGINT and SIGTERM abort the release, whatever is under way.
cancelled() {
  trap - INT TERM
  [ -z "$asking" ] || kill "$asking" 2> /dev/null || true
  if [ -n "$release" ]; then
    for _ in 1 2 3 4 5; do
      ask POST "/v1/releases/$namespace/$release/abort" '{"reason": "the job was cancelled"}'
      case $code in 2?? | 409) break ;; esac
      sleep 1
    done
    echo "aborting $release: the API answered $code" >&2
  fi
  exit $((128 + $1))
}
trap 'cancelled 2' INT
trap 'cancelled 15' TERM

body=$(jq --null-input --compact-output --arg namespace "$namespace" --arg service "$service" --arg version "$version" \
  --arg conflict "${ON_CONFLICT:-reject}" \
  '{namespace: $namespace, service: $service, version: $version, onConflict: $conflict}')
for attempt in 1 2 3 4; do
  ask POST /v1/releases "$body" # with the same key: sending it twice starts one release
  case $code in
    200 | 201) break ;;
    000 | 429 | 503) [ "$attempt" -lt 4 ] || refused ;;
    *) refused ;;
  esac
  sleep "$attempt"
done
release=$(jq --raw-output .name "$work/answer")
echo "$release"

told=""
while :; do
  phase=$(jq --raw-output .status.phase "$work/answer")
  now=$(jq --raw-output '"\(.status.phase) \(.status.weight) % \(.status.reason) \(.status.message)"' "$work/answer")
  if [ "$now" != "$told" ]; then
    printf '%s\n' "$now" | tr -d '\000-\011\013-\037' | sed 's/##\[/# #[/g; s/^::/: :/' >&2
    told=$now
  fi
  case $phase in
    Promoted) exit 0 ;;
    RolledBack | Aborted | Failed) break ;;
  esac
  [ "$SECONDS" -lt "$deadline" ] || exit 124
  revision=$(jq --raw-output .revision "$work/answer")
  cp "$work/answer" "$work/known"
  # Answered as soon as it changes, or after 25 s.
  ask GET "/v1/releases/$namespace/$release?wait=25s&after=$revision"
  case $code in
    200) ;;
    000 | 304 | 429 | 5??)
      [ "$code" = 304 ] || sleep 2
      cp "$work/known" "$work/answer"
      ;;
    404) explain && exit 12 ;;
    *) refused ;;
  esac
done

case "$phase $(jq --raw-output '"\(.status.cause.kind // "") \(.status.cause.reason // "")"' "$work/answer")" in
  *\ Superseded) exit 13 ;;
  RolledBack\ metrics\ * | RolledBack\ gate\ *) exit 10 ;;
  Aborted\ *) exit 11 ;;
  Failed\ *\ Busy | Failed\ *\ NoPolicy | Failed\ *\ InvalidSpec | Failed\ *\ AlreadyStable) exit 22 ;;
  Failed\ *\ UnsupportedRoute | Failed\ *\ PreflightFailed | Failed\ *\ GateRefused) exit 22 ;;
  *) exit 12 ;;
esac
