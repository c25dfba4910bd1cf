#!/bin/sh
# Gates checkpoints before they are handed on, and refuses all but PROMOTE.
#
#   checkpoint-hook.sh --stage stage4 RUN                    the newest checkpoint_* of a folder of checkpoints
#   checkpoint-hook.sh --stage stage4 RUN/checkpoint_2000    this one; several may be named
#   checkpoint-hook.sh --stage stage4 FILE…                  those that the files lie in, each once (pre-commit's way)
#
# --out DIR keeps the reports, one folder a checkpoint. GATES names another `gates` command. Exits 0 when all of them
# are PROMOTE, else with the code of the worst: 1 REJECT, 10 INCOMPLETE, whatever else the run ended with, and 4 for
# what is no checkpoint.
set -eu

say() { # a line for people: names may hold anything, and a terminal obeys some of it
  printf '%s\n' "checkpoint-hook: $(printf '%s' "$1" | LC_ALL=C tr '\000-\037\177' '?')" >&2
}

usage() {
  say "$1"
  exit 4
}

# Sets `found` to the checkpoint_* folder that a path is or lies in; empty where there is none. No command
# substitution: it would cut line breaks off the end of a name.
checkpoint_of() {
  found=$1
  while :; do
    case $found in
      ?*/) found=${found%/} && continue ;;
    esac
    case ${found##*/} in
      checkpoint_*) if [ -d "$found" ]; then return 0; fi ;;
    esac
    case $found in
      ?*/*) found=${found%/*} ;;
      *) found='' && return 0 ;;
    esac
  done
}

# Sets `found` to the checkpoint_<number> of the highest number in a folder; empty where there is none.
newest_of() {
  found='' best=-1
  for each in "$1"/checkpoint_*; do
    step=${each##*/checkpoint_}
    case $step in
      '' | *[!0-9]* | ???????????????????*) continue ;;
    esac
    if [ -d "$each" ] && [ "$step" -gt "$best" ]; then
      found=$each best=$step
    fi
  done
}

# Whether the first argument is among those after the next, which says how many of them to pass over.
is_among() {
  needle=$1 pass=$2
  shift 2
  shift "$pass"
  for each in "$@"; do
    if [ "$each" = "$needle" ]; then return 0; fi
  done
  return 1
}

stage='' out=''
while [ $# -gt 0 ]; do
  case $1 in
    --stage | --out) if [ $# -lt 2 ]; then usage "$1 without a value"; fi ;;
  esac
  case $1 in
    --stage) stage=$2 && shift 2 ;;
    --stage=*) stage=${1#*=} && shift ;;
    --out) out=$2 && shift 2 ;;
    --out=*) out=${1#*=} && shift ;;
    --) shift && break ;;
    -*) usage "found option $1; expected --stage or --out" ;;
    *) break ;;
  esac
done
case $stage in
  stage3 | stage4) ;;
  *) usage "found stage '$stage'; expected --stage stage3 or --stage stage4" ;;
esac
if [ $# -eq 0 ]; then usage 'no checkpoint named'; fi

# What was named, to the checkpoints it means: each argument is taken off the front, its checkpoint put at the end.
left=$#
while [ "$left" -gt 0 ]; do
  named=$1
  shift
  left=$((left - 1))
  checkpoint_of "$named"
  if [ -z "$found" ] && [ -d "$named" ]; then newest_of "$named"; fi
  if [ -z "$found" ]; then usage "found no checkpoint_* at $named"; fi
  if ! is_among "$found" "$left" "$@"; then set -- "$@" "$found"; fi
done

# How bad a code is: of several the worst is returned.
rank() {
  case $1 in
    0) echo 0 ;;
    10) echo 1 ;;
    1) echo 3 ;;
    *) echo 2 ;;
  esac
}

worst=0
for ckpt in "$@"; do
  code=0
  if [ -n "$out" ]; then
    "${GATES:-gates}" run "$stage" "--ckpt=$ckpt" "--out=$out/${ckpt##*/}" || code=$?
  else
    "${GATES:-gates}" run "$stage" "--ckpt=$ckpt" || code=$?
  fi
  case $code in
    0) say "PROMOTE: $ckpt" ;;
    1) say "refused, REJECT: $ckpt" ;;
    10) say "refused, INCOMPLETE: $ckpt" ;;
    *) say "refused, no verdict (exit code $code): $ckpt" ;;
  esac
  if [ "$(rank "$code")" -gt "$(rank "$worst")" ]; then worst=$code; fi
done
exit "$worst"
