#!/usr/bin/env bash
# Runs the gates for action.yml and notes how they ended; the action's last step fails the job by that code.
# Takes GATES_STAGE, GATES_CKPT, GATES_OUT, and where they are not empty GATES_THRESHOLDS and GATES_PYTEST_ARGS (one
# argument a line). The step summary and the annotations of failed gates are the gates' own.
set -eu

out=${GATES_OUT:?expected a folder}
case $out in
  *$'\n'*)
    echo 'run-gates: found a line break in the output folder; expected one path' >&2
    exit 4
    ;;
esac

args=("--ckpt=${GATES_CKPT:?expected a folder}" "--out=$out" "--junitxml=$out/junit.xml")
if [ -n "${GATES_THRESHOLDS:-}" ]; then
  args+=("--thresholds=$GATES_THRESHOLDS")
fi
while IFS= read -r line || [ -n "$line" ]; do
  line=${line%$'\r'}
  if [ -n "$line" ]; then
    args+=("$line")
  fi
done <<< "${GATES_PYTEST_ARGS:-}"

code=0
gates run "${GATES_STAGE:?expected stage3 or stage4}" "${args[@]}" || code=$?

case $code in
  0) verdict=PROMOTE ;;
  1) verdict=REJECT ;;
  10) verdict=INCOMPLETE ;;
  *) verdict=NONE ;;
esac
{
  echo "exit-code=$code"
  echo "verdict=$verdict"
  echo "report=$out/report.html"
} >> "${GITHUB_OUTPUT:-/dev/null}"

case $verdict in
  PROMOTE) echo '::notice title=Gates::PROMOTE' ;;
  REJECT) echo '::error title=Gates::REJECT: a blocking gate failed. The checkpoint is at fault.' ;;
  INCOMPLETE) echo '::error title=Gates::INCOMPLETE: something could not be measured. The run is at fault, not the checkpoint.' ;;
  NONE) echo "::error title=Gates::no verdict: the run ended with exit code $code" ;;
esac
