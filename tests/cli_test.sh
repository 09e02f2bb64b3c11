#!/bin/sh
# SPDX-License-Identifier: MIT
# cli_test.sh <the silica program>: what it answers, its exit statuses, and that nothing gets lost.
set -u
silica=$1
case $silica in /*) ;; *) silica=$PWD/$silica ;; esac
folder=$(mktemp -d) || exit 1
trap 'chmod -R u+w "$folder"; rm -rf "$folder"' EXIT
cd "$folder" || exit 1
unset SILICA_THREADS SILICA_MAX_ISA
failed=0

pass() { echo "ok    $1"; }
fail() {
  echo "FAIL  $1: $2"
  failed=1
}

# expect <status> <pattern of the output> <name> <command>...: a crash or a bare exception is never right.
expect() {
  status=$1 pattern=$2 name=$3
  shift 3
  "$@" >output 2>&1
  got=$?
  if [ "$got" -ne "$status" ]; then
    fail "$name" "status $got instead of $status: $(head -c 300 output)"
  elif ! grep -qe "$pattern" output; then
    fail "$name" "no '$pattern' in: $(head -c 300 output)"
  elif grep -qE 'terminate called|what\(\)|Segmentation' output; then
    fail "$name" "$(head -c 300 output)"
  else
    pass "$name"
  fi
}

digest() { sed -n 's/^weights *sha256 //p' "$1"; }

# ---- something small to learn

for a in ba che di fo gu kra le mi no pu; do
  for b in n rt st ll x; do
    for c in ing ed s ment er; do echo "$a$b$c"; done
  done
done >words
small="--data words --width 4 --hidden 24 --batch 32 --steps 60 --no-progress"

# ---- usage

expect 0 'silica [0-9]' 'version' "$silica" --version
expect 0 'train' 'help' "$silica" --help
expect 0 'learning-rate' 'help of train' "$silica" train --help
expect 0 '^cpu  *exact' 'devices' "$silica" devices
expect 2 'subcommand' 'no subcommand' "$silica"
expect 2 'nonsense' 'unknown subcommand' "$silica" nonsense
expect 2 'nonsense' 'unknown option' "$silica" train --nonsense
expect 2 'steps' 'a word for a number' "$silica" train --steps many
expect 2 'steps' 'a number with a tail' "$silica" train --steps 12x
expect 2 'seed' 'a negative seed' "$silica" train --seed -1
expect 2 'steps' 'more than 64 bits' "$silica" train --steps 99999999999999999999
expect 2 'out' 'an option without its value' "$silica" train --out
expect 2 'temperature' 'a word for a temperature' "$silica" generate --temperature warm
expect 1 'standard output' 'full standard output' sh -c '"$0" devices >/dev/full' "$silica"

# ---- check

expect 0 '^[0-9]* checks on 1 device: all passed' 'check' "$silica" check --device cpu --op 'silu*' --op rms_norm
expect 0 '"passed": true' 'check as JSON' "$silica" check --device cpu --op copy --json
grep -qi 'nan\|inf"' output && fail 'finite numbers in JSON' "$(grep -i nan output)" || pass 'finite numbers in JSON'
expect 0 'same ' 'every input of a half' "$silica" check --device cpu --op silu.f16 --exhaustive
expect 2 'mean silu' 'check of an unknown op' "$silica" check --op silou
expect 2 'mean cpu' 'check of an unknown device' "$silica" check --device cpu0
expect 2 'op' 'check without the op' "$silica" check --op

# ---- values that make no sense

expect 1 '--steps: 0 ' 'no steps' "$silica" train $small --steps 0
expect 1 '--batch: 0 ' 'no batch' "$silica" train $small --batch 0
expect 1 '--width: 999999999 ' 'absurd width' "$silica" train $small --width 999999999
expect 1 '--blocks' 'absurd blocks' "$silica" train $small --blocks 4294967296
expect 1 'GiB' 'more than the memory' "$silica" train $small --width 4096 --hidden 1048576 --blocks 64
expect 1 '--learning-rate: nan' 'a rate that is no number' "$silica" train $small --learning-rate nan
expect 1 '--weight-decay' 'negative decay' "$silica" train $small --weight-decay=-1
expect 1 '--threads' 'absurd threads' "$silica" train $small --threads 4000000000
expect 1 'toaster' 'unknown device' "$silica" train $small --device toaster

# ---- data

: >empty
echo one >one
printf 'ab\0cd\nef\n' >binary
{ echo b; head -c 3000000 /dev/zero | tr '\0' a; } >long
expect 1 'missing: cannot open' 'no data' "$silica" train $small --data missing
expect 1 'empty: is empty' 'empty data' "$silica" train $small --data empty
expect 1 'one distinct line' 'one line' "$silica" train $small --data one
expect 1 'zero byte at offset 2' 'binary data' "$silica" train $small --data binary
expect 1 'is a directory' 'a directory as data' "$silica" train $small --data .
expect 1 'is a device' 'a device as data' "$silica" train $small --data /dev/zero
expect 0 'held-out' 'a very long line' "$silica" train $small --data long --steps 2 --out long.safetensors

# ---- bench

quick="--repeats 2 --seconds 1e-5"
expect 0 '^| silu  *| bf16  *| 1000 ' 'bench' "$silica" bench silu --dtype f32,bf16 --size 1000,64 $quick --plot b.svg
grep -q '</svg>' b.svg && pass 'its plot is written' || fail 'its plot is written' 'no </svg>'
expect 0 '"op": "matmul"' 'bench as JSON' "$silica" bench matmul --shape 5x6x7 --transpose-b $quick -o json
expect 0 '^matmul,f32,5x6x7 ta,silica,[0-9]' 'bench as CSV' "$silica" bench matmul --shape 5x6x7 --transpose-a $quick -o csv
expect 0 '^ffn,f32,5x6x7 in-out,silica,[0-9]' 'bench of weights (in, out)' "$silica" bench ffn --shape 5x6x7 --in-out $quick -o csv
expect 0 'not measured: PyTorch: .*no-python' 'bench without peers' \
  env SILICA_PYTHON=./no-python "$silica" bench silu --size 64 $quick --peers
expect 0 'first *| f32 *| result' 'bench first' "$silica" bench first --device cpu
expect 1 "there is no 'nonsense'; there are copy, silu" 'bench of no op' "$silica" bench nonsense
expect 1 '--size: 0 is empty' 'bench of nothing' "$silica" bench silu --size 0
expect 1 "'2^70' is too large" 'bench of too much' "$silica" bench silu --size 2^70
expect 1 "'12y' is no number" 'bench of a size with a tail' "$silica" bench silu --size 12y
expect 1 'bytes were asked for' 'bench of more than the memory' "$silica" bench silu --size 2^60
expect 1 '4x4 is no size of matmul, which takes MxNxK' 'bench of a matmul in the plane' "$silica" bench matmul --shape 4x4
expect 1 '--shape: needs' 'bench of a shape for silu' "$silica" bench silu --shape 4x4
expect 1 '--size: needs' 'bench of a size for nothing' "$silica" bench --size 4
expect 1 '--dtype: needs' 'bench of a dtype for nothing' "$silica" bench --dtype f32
expect 1 "'i32' is none of f32" 'bench of integers' "$silica" bench silu --dtype i32
expect 1 'first is measured alone' 'bench of the first and more' "$silica" bench first silu
expect 1 'No such file' 'bench without a folder for the plot' "$silica" bench silu --plot none/b.svg
expect 1 'toaster' 'bench on an unknown device' "$silica" bench silu --device toaster
expect 2 'output' 'bench as XML' "$silica" bench silu -o xml
expect 2 'repeats' 'bench a negative number of times' "$silica" bench silu --repeats=-1
expect 1 'standard output' 'bench to a full standard output' sh -c '"$0" bench silu --size 64 --repeats 2 >/dev/full' "$silica"

# ---- outputs that cannot be written

expect 1 '/dev/full: is a device' 'a full device' "$silica" train $small --out /dev/full
expect 1 'No such file' 'no such folder' "$silica" train $small --out none/w.safetensors
expect 1 'is a directory' 'a directory' "$silica" train $small --out .
expect 1 'No such file' 'no folder for the plot' "$silica" train $small --plot none/loss.svg
cp words precious
expect 1 'not replaced' 'a file that is no checkpoint' "$silica" train $small --out precious
cmp -s words precious && pass 'that file is as it was' || fail 'that file is as it was' 'it changed'

# ---- training

expect 0 'held-out .* trigram' 'training' "$silica" train $small --out a.safetensors --plot loss.svg
cp output a.log
[ -n "$(digest a.log)" ] && pass 'the digest is printed' || fail 'the digest is printed' "$(cat a.log)"
grep -q '</svg>' loss.svg && pass 'the plot is written' || fail 'the plot is written' 'no </svg>'
for threads in 1 2 3 16; do
  "$silica" train $small --threads $threads --out b.safetensors >b.log 2>&1
  [ "$(digest a.log)" = "$(digest b.log)" ] && pass "$threads threads: the same digest" ||
    fail "$threads threads: the same digest" "$(cat b.log)"
done
case ",${SILICA_TEST_DEVICES-}," in
  *,vulkan,*)
    expect 0 'on vulkan:' 'training on vulkan' "$silica" train $small --device vulkan --out b.safetensors
    [ "$(digest a.log)" = "$(digest output)" ] && pass 'vulkan: the same digest' ||
      fail 'vulkan: the same digest' "$(cat output)"
    ;;
esac
cmp -s a.safetensors b.safetensors && pass 'the same file' || fail 'the same file' 'they differ'
"$silica" train $small --seed 2 --out b.safetensors >b.log 2>&1
[ "$(digest a.log)" != "$(digest b.log)" ] && pass 'another seed: another digest' ||
  fail 'another seed: another digest' "$(cat b.log)"
expect 0 'step 60/60' 'progress as lines' "$silica" train --data words --width 4 --hidden 24 --batch 32 --steps 60
rm -f words.safetensors

# A limit on file sizes stands in for a full disk.
before=$(cksum <b.safetensors)
expect 1 'b.safetensors: cannot write' 'a full disk' \
  sh -c 'ulimit -f 8; "$0" train "$@" --out b.safetensors' "$silica" $small
[ "$before" = "$(cksum <b.safetensors)" ] && pass 'the old checkpoint is as it was' ||
  fail 'the old checkpoint is as it was' 'it changed'
[ -z "$(ls | grep tmp)" ] && pass 'no temporary file is left' || fail 'no temporary file is left' "$(ls)"

# ---- stop and resume

long_run="--data words --width 8 --hidden 64 --batch 128 --steps 3000 --checkpoint-every 50 --no-progress"
"$silica" train $long_run --out whole.safetensors >whole.log 2>&1
"$silica" train $long_run --out part.safetensors >part.log 2>&1 &
pid=$!
tries=0
while [ ! -f part.safetensors ] && [ $tries -lt 400 ]; do
  sleep 0.05
  tries=$((tries + 1))
done
kill -INT $pid
wait $pid
status=$?
[ $status -eq 130 ] && pass 'an interrupt ends with status 130' ||
  fail 'an interrupt ends with status 130' "$status: $(cat part.log)"
grep -q -e '--resume' part.log && pass 'it says how to go on' || fail 'it says how to go on' "$(cat part.log)"
expect 1 'add --resume' 'an unfinished run is not replaced' "$silica" train $long_run --out part.safetensors
expect 1 '--seed is 5' 'resume with another seed' "$silica" train --resume --seed 5 --out part.safetensors
expect 1 '--hidden is 65' 'resume with another shape' "$silica" train --resume --hidden 65 --out part.safetensors
expect 1 'SHA-256' 'resume with other data' "$silica" train --resume --data one --out part.safetensors
"$silica" train --resume --threads 1 --no-progress --out part.safetensors >part.log 2>&1
grep -q '^resumed' part.log && [ -n "$(digest whole.log)" ] && [ "$(digest whole.log)" = "$(digest part.log)" ] &&
  pass 'the resumed run has the same digest' || fail 'the resumed run has the same digest' "$(cat part.log)"
cmp -s whole.safetensors part.safetensors && pass 'and the same file' || fail 'and the same file' 'they differ'
expect 0 "$(digest whole.log)" 'resuming a finished run' "$silica" train --resume --out part.safetensors
expect 1 'none.safetensors: cannot open' 'nothing to resume' "$silica" train --resume --out none.safetensors

# ---- generate

expect 0 . 'generate' "$silica" generate --model whole.safetensors -n 15 --temperature 1.5
sort output >new
[ "$(sort -u new | wc -l)" -eq 15 ] && pass 'as many different words as asked for' ||
  fail 'as many different words as asked for' "$(cat new)"
sort words >sorted
[ -z "$(comm -12 new sorted)" ] && pass 'none of them in the list' ||
  fail 'none of them in the list' "$(comm -12 new sorted)"
"$silica" generate --model whole.safetensors -n 15 --temperature 1.5 --threads 1 | sort | cmp -s - new &&
  pass 'the same words again' || fail 'the same words again' 'they differ'
expect 0 '^kra' 'a prompt' "$silica" generate --model whole.safetensors -n 1 --prompt kra --temperature 2
expect 1 "'Z'" 'a prompt of unknown bytes' "$silica" generate --model whole.safetensors --prompt Z
expect 1 'found .* of 1000 new words' 'giving up' \
  "$silica" generate --model whole.safetensors -n 1000 --top-k 1
expect 1 '--temperature: 0' 'no temperature' "$silica" generate --model whole.safetensors --temperature 0
expect 1 '-n: 0' 'no words' "$silica" generate --model whole.safetensors -n 0
expect 1 'missing: cannot open' 'no list' "$silica" generate --model whole.safetensors --data missing
expect 1 'none: cannot open' 'no model' "$silica" generate --model none
head -c 5000 whole.safetensors >cut
expect 1 'cut: ' 'a truncated model' "$silica" generate --model cut
expect 1 'words: ' 'a model that is no model' "$silica" generate --model words
{ head -c 20000 whole.safetensors; printf '\377'; tail -c +20002 whole.safetensors; } >damaged
expect 1 'damaged: ' 'a damaged model' "$silica" generate --model damaged
expect 1 'damaged: ' 'a damaged checkpoint' "$silica" train --resume --out damaged

exit $failed
