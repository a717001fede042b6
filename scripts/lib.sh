# Shared functions of the scripts in this directory. This file is sourced, not run.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
state=${MSGPIPE_STATE:-${XDG_CACHE_HOME:-$HOME/.cache}/msgpipe}
mkdir -p "$state"

# The packages that build std for a foreign target, link Windows programs and run them. Of
# binutils-mingw-w64-i686 only dlltool is needed: std does not build for 32-bit Windows without one.
cross_packages=(
  rustc-web cargo-web rust-web-src rust-web-clippy
  gcc-mingw-w64-x86-64-posix binutils-mingw-w64-i686
  wine wine64 ca-certificates
)

die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# wait_for_socket PATH: waits until a server listens at PATH, ten seconds at most.
wait_for_socket() {
  local look
  for look in $(seq 100); do
    [ ! -S "$1" ] || return 0
    sleep 0.1
  done
  die "nobody listens at $1 ($look looks)"
}

# The rust-version of Cargo.toml as major.minor.
declared_msrv() {
  local version
  version=$(sed -n 's/^rust-version = "\([0-9]*\.[0-9]*\).*"$/\1/p' "$root/Cargo.toml" | head -n 1)
  [ -n "$version" ] || die "Cargo.toml has no line 'rust-version = \"x.y\"'"
  printf '%s\n' "$version"
}

# apt_get ARGS...: runs apt-get as root, and prints its output only if it fails.
apt_get() {
  local sudo=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || die "needs root or sudo for: apt-get $*"
    sudo=(sudo)
  fi
  # --no-remove: on a machine with another Rust from apt this fails, and does not remove that Rust.
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get -q -y --no-remove -o DPkg::Lock::Timeout=300 "$@" >"$state/apt.log" 2>&1 ||
    {
      tail -n 20 "$state/apt.log" >&2
      die "apt-get $* failed; the packages are those of Debian 12 (bookworm) with its security updates"
    }
}

# need_packages NAME...: installs the missing packages, through apt with the machine's own sources.
need_packages() {
  local package missing=()
  command -v dpkg-query >/dev/null || die "needs Debian (no dpkg here) for: $*"
  for package; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
      missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  printf 'installing: %s\n' "${missing[*]}" >&2
  apt_get update
  apt_get install --no-install-recommends "${missing[@]}"
}

# Selects Debian's own rustc and cargo, which build std from the library source of the same version. No other
# toolchain can do so from packages: compiler and library source must match exactly.
use_debian_toolchain() {
  need_packages "${cross_packages[@]}"
  if [ "$(package_version rustc-web)" != "$(package_version rust-web-src)" ]; then
    apt_get update
    apt_get install --no-install-recommends rustc-web cargo-web rust-web-src rust-web-clippy
  fi
  # cargo puts its own bin directory first in PATH unless PATH contains it, and `cargo clippy` would then run
  # a rustup proxy from there. So PATH contains it, as its last entry.
  export PATH="/usr/bin:$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
  export RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc
  unset RUSTUP_TOOLCHAIN
  export CARGO_UNSTABLE_BUILD_STD=std
  # build-std is an unstable option. This variable also lets every crate use unstable features, so only the
  # build on Linux, without it, shows that the workspace builds on stable Rust.
  export RUSTC_BOOTSTRAP=1
}

package_version() {
  dpkg-query -W -f='${Version}' "$1"
}
