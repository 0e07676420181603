#!/bin/sh
# Makes clip.ts, the default input of `eddy demo`. Needs ffmpeg with libx264.
#
# The clip lasts 4.8 s to the tick: 120 frames of video at 25 fps and 200 frames
# of MPEG-1 Layer II audio at 48 kHz, 1920 transport packets at 601,600 bit/s.
# So it can follow itself without a gap in picture, tone, clock or bit rate.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
run="ffmpeg -hide_banner -loglevel error -y -threads 1 -fflags +bitexact"

# A tone at line-up level. The middle of a longer run, because the encoder
# begins with silence; a frame is 168 bytes, one transport packet with its header.
$run -f lavfi -i sine=frequency=1000:sample_rate=48000 -t 10 -c:a mp2 -b:a 56k -flags +bitexact -f mp2 "$work/long.mp2"
tail -c +$((168 * 100 + 1)) "$work/long.mp2" | head -c $((168 * 200)) >"$work/tone.mp2"

$run -f lavfi -i testsrc2=size=480x270:rate=25 -frames:v 120 \
  -c:v libx264 -preset veryslow -profile:v main -pix_fmt yuv420p -threads 1 -flags +bitexact+cgop \
  -b:v 420k -minrate 420k -maxrate 420k -bufsize 210k \
  -x264-params keyint=24:min-keyint=24:scenecut=0:bframes=0:nal-hrd=cbr:force-cfr=1:aud=1:repeat-headers=1 \
  -f nut "$work/picture.nut"

$run -i "$work/picture.nut" -f mp3 -i "$work/tone.mp2" -c copy -map 0:v -map 1:a -flags +bitexact \
  -metadata service_name=Eddy -metadata service_provider=Eddy \
  -f mpegts -muxrate 601600 -pcr_period 20 -pat_period 0.1 -pes_payload_size 0 -muxdelay 0.3 -muxpreload 0 "$work/clip.ts"

# Fill up to the whole length with null packets (PID 0x1fff).
size=$(wc -c <"$work/clip.ts")
missing=$((1920 - size / 188))
[ "$missing" -ge 0 ] || { echo "the clip is $((-missing)) packets too long" >&2; exit 1; }
printf 'G\037\377\020' >"$work/null.ts"
head -c 184 /dev/zero | tr '\0' '\377' >>"$work/null.ts"
while [ "$missing" -gt 0 ]; do
  cat "$work/null.ts" >>"$work/clip.ts"
  missing=$((missing - 1))
done
mv "$work/clip.ts" clip.ts
