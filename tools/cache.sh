# Sourced by the scripts in this folder. What they fetch or build lies outside the tree, in a folder named by its version:
# `cargo clean` and a new clone cost nothing, and a new version never meets the files of the old one.
cache=${PLIMSOLL_CACHE:-$HOME/.cache/plimsoll}

# die SENTENCE: gives up; the sentence names what is wrong and the remedy.
die() {
    echo "$0: $1" >&2
    exit 1
}

# need PROGRAM REMEDY
need() {
    command -v "$1" >/dev/null || die "$1 is not installed: $2."
}

# have NAME: whether `once NAME` has nothing left to do.
have() {
    [ -d "$cache/$1" ]
}

# once NAME FUNCTION: makes the folder $cache/NAME by calling `FUNCTION FOLDER`, unless it is there. It appears complete or
# not at all, however many callers there are and whenever they are killed.
once() {
    have "$1" && return
    mkdir -p "$(dirname "$cache/$1")"
    exec 9>"$cache/$1.lock"
    flock 9
    if ! have "$1"; then
        rm -rf "$cache/$1.partial"
        mkdir "$cache/$1.partial"
        # Not `if ! function`: that would switch off `set -e` inside the function.
        set +e
        (set -e; "$2" "$cache/$1.partial") >"$cache/$1.log" 2>&1 9>&-
        failed=$?
        set -e
        if [ "$failed" -ne 0 ]; then
            tail -n 20 "$cache/$1.log" >&2
            die "could not make $cache/$1: see the lines above, the end of $cache/$1.log."
        fi
        mv "$cache/$1.partial" "$cache/$1"
    fi
    exec 9>&-
}
