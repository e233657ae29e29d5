#!/bin/sh
# Fetches the ClickHouse engine library (libchdb.so of chDB 26.5.3) into the user's
# cache directory, and checks its SHA-256. Does nothing when it is there already.
#
# usage: fetch-engine.sh [DIRECTORY]
set -eu

version=26.5.3
sum=4330da79405733f7572f27c1442f46c03a08301f00859dce0368645731b1e1dc
package=@chdb/lib-linux-x64-gnu

alternatives() {
	cat >&2 <<TEXT
engine: $1
  What you can do instead:
  - get libchdb.so $version another way (https://clickhouse.com/docs/chdb) and set PANDA_ENGINE_LIB to its path
  - use a ClickHouse server: panda serve --clickhouse-url clickhouse://user:password@host:9000/panda
TEXT
	exit 1
}

dir=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/panda/engine/$version}
lib=$dir/libchdb.so
if [ -n "${PANDA_ENGINE_LIB:-}" ]; then
	exit 0 # the user brings the library; panda checks it
fi

# What was checked last: the sum, and the size and time of the file it belonged to.
checked() { [ -f "$dir/libchdb.sum" ] && [ "$(cat "$dir/libchdb.sum")" = "$sum $(stat -c '%s %Y' "$lib")" ]; }

if [ -f "$lib" ] && checked; then
	exit 0
fi
case "$(uname -s)-$(uname -m)" in
Linux-x86_64) ;;
*) alternatives "no prebuilt library is known for $(uname -s) on $(uname -m)" ;;
esac

if [ ! -f "$lib" ]; then
	command -v npm >/dev/null 2>&1 || alternatives "npm is not installed; it brings the library"
	mkdir -p "$dir"
	work=$(mktemp -d "$dir/fetch.XXXXXX")
	trap 'rm -rf "$work"' EXIT INT TERM
	echo "engine: fetching the ClickHouse engine $version (167 MB) into $dir" >&2
	(cd "$work" && npm pack --silent "$package@$version" >/dev/null) || alternatives "npm could not fetch $package@$version"
	tar -xzf "$work"/*.tgz -C "$work" package/libchdb.so || alternatives "the package holds no libchdb.so"
	echo "$sum  $work/package/libchdb.so" | sha256sum -c --status || alternatives "the library fetched has the wrong SHA-256; it was thrown away"
	chmod 644 "$work/package/libchdb.so"
	touch "$work/package/libchdb.so"
	mv "$work/package/libchdb.so" "$lib" # at once: a half-written library is never in place
fi
if ! echo "$sum  $lib" | sha256sum -c --status; then
	alternatives "$lib has the wrong SHA-256; delete it and run this again"
fi
echo "$sum $(stat -c '%s %Y' "$lib")" >"$dir/libchdb.sum"
echo "engine: the ClickHouse engine $version is ready" >&2
