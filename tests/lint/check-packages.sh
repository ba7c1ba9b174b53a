#!/bin/bash
# The packages agree with the tree: what they need for a build is what contrib/setup installs, and their version is
# configure's. That they can be built and installed is the lab's to show.
set -u
tree=${top_srcdir:-$(cd "$(dirname "$0")/../.." && pwd)}
cd "$tree" || exit 99
failures=0

libraries() { # of a list with a package on each line
    sed -e 's/#.*//' -e 's/^ *\([a-z0-9.+-]*\).*/\1/' "$@" | grep -e '-dev$' | grep -vxE 'libc6-dev|libclang-rt-[0-9]+-dev' | sort -u
}
build_depends=$(sed -n '/^Build-Depends:/,/^[A-Z][a-zA-Z-]*:/{/^ /p}' debian/control | libraries)
setup=$(libraries contrib/packages.build contrib/packages.test)
[[ -n $setup ]] || { echo "contrib/packages.build names no library"; exit 1; }
if ! difference=$(diff <(echo "$setup") <(echo "$build_depends")); then
    failures=$((failures + 1))
    echo "< contrib/packages.build and contrib/packages.test, > Build-Depends of debian/control:"
    echo "$difference"
fi

version=$(sed -n 's/^AC_INIT(\[ringmaster\], \[\(.*\)\])/\1/p' configure.ac)
packaged=$(sed -n '1s/^ringmaster (\([^)]*\)).*/\1/p' debian/changelog)
if [[ -z $version || $packaged != "$version" ]]; then
    failures=$((failures + 1))
    echo "configure.ac says version $version, debian/changelog $packaged"
fi

[[ $failures -eq 0 ]] || exit 1
echo "version $version, $(wc -l <<< "$setup") libraries"
