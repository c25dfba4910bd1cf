#!/bin/sh
# make browser: reports in a real browser. Needs Chromium, node and npm; without them it says so and does nothing.
# Not part of `make test`: it fetches two npm packages, once, and takes about a minute a page. docs/reports.md has more.
set -eu
python=${1:?the Python to render with}
tools=.cache/browser
for each in chromium chromium-browser google-chrome; do
  [ -n "${CHROMIUM:-}" ] || CHROMIUM=$(command -v "$each" || true)
done
for each in node npm; do
  command -v "$each" > /dev/null || { echo "browser: skipped, $each is not installed"; exit 0; }
done
[ -n "${CHROMIUM:-}" ] || { echo "browser: skipped, there is no Chromium; name one with CHROMIUM="; exit 0; }
export CHROMIUM BROWSER_TOOLS="$tools"
mkdir -p "$tools"
cp tests/browser/package.json "$tools/"
npm install --prefix "$tools" --no-audit --no-fund --silent || { echo "browser: skipped, npm cannot fetch axe-core"; exit 0; }

pages=$("$python" -m tests.browser.pages "$tools/pages")
# A page that is wrong in every way that is looked for: all of it must be found, or the check is worth nothing.
node tests/browser/check.mjs "$tools/pages/bad/bad.html" > "$tools/bad.log" || true
for each in "console log" "request" "the page is" "a picture did not load" "no duration" "has a script" \
  "color-contrast" "image-alt" "document-title"; do
  grep -q "$each" "$tools/bad.log" || { echo "browser: the check does not find “$each” where it is"; exit 1; }
done
# Reports of this checkout's own runs as well, where there are any.
real=$(find outputs/gates -name report.html 2> /dev/null || true)
# shellcheck disable=SC2086  # none of these paths has a space
node tests/browser/check.mjs --shots "$tools/shots" $pages $real
