#!/bin/busybox sh
# programs.sh: runs the conformance programs one after the other, the same way on the host and in the guest, and
# writes what each did to standard output:
#
#     @begin SUITE/NAME
#     @out BASE64...            its output, standard error included; of more than 256 KiB the ends and a digest
#     @end SUITE/NAME STATUS    its exit status as the shell has it
#
# usage: programs.sh LAUNCH DIR LIST FIRST SECONDS     DIR/SUITE/NAME are the programs; LIST names them, from line FIRST
#
# Each runs in its own directory, started by launch.
launch=$1 dir=$2 list=$3 first=$4 seconds=$5
work=$(mktemp -d)
out=$work/output
tail -n "+$first" "$list" | while read -r program; do
	echo "@begin $program"
	cd "$dir/${program%/*}" || exit 1
	"$launch" "$seconds" "$out" "./${program##*/}" >/dev/null 2>&1
	status=$?
	if [ "$(wc -c <"$out")" -gt 262144 ]; then
		{ head -c 65536 "$out" && sha256sum <"$out" && tail -c 65536 "$out"; } >"$out.short"
		mv "$out.short" "$out"
	fi
	base64 <"$out" | sed 's/^/@out /'
	echo "@end $program $status"
done
rm -rf "$work"
echo "@done"
