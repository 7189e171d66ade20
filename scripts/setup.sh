#!/bin/sh
# Makes a bare Debian 12 or 13 machine ready for the platform: Debian packages, npm packages, Node.js 24.
# POSIX sh, because it runs before anything else is there. It installs programs, never services: what a
# package would start stays stopped, and a service that was there before keeps its state.
set -eu
umask 022

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
cd "$root"

# Package and a file that it brings; a program that came another way counts as installed. Patroni needs
# python3-etcd, which on Debian 13 it accepts other packages instead of; that in turn needs python3-idna
# for TLS as soon as python3-openssl is there, and neither package says so.
wanted="
postgresql:/usr/lib/postgresql
patroni:/usr/bin/patroni
python3-etcd:/usr/lib/python3/dist-packages/etcd
python3-idna:/usr/lib/python3/dist-packages/idna
etcd-server:/usr/bin/etcd
etcd-client:/usr/bin/etcdctl
haproxy:/usr/sbin/haproxy
pgbouncer:/usr/sbin/pgbouncer
pgbackrest:/usr/bin/pgbackrest
s6:/usr/bin/s6-svscan
execline:/usr/bin/execlineb
openssl:/usr/bin/openssl
nftables:/usr/sbin/nft
iproute2:/usr/bin/ip
"

say() { echo "setup: $*"; }
die() { echo "setup: $*" >&2; exit 1; }

list_missing() {
  for entry in $wanted; do
    package=${entry%%:*}
    file=${entry#*:}
    case $package in
      postgresql) ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || echo "$package" ;;
      python3-*) [ -e "$file" ] || echo "$package" ;;
      *) [ -e "$file" ] || command -v "${file##*/}" >/dev/null 2>&1 || echo "$package" ;;
    esac
  done
}

# Everything that needs root, as one script for one call of sudo. Its arguments: the packages.
# - policy-rc.d is how Debian packages ask whether they may start a service: 101 says no.
# - a drop-in keeps postgresql-common from making a cluster "main" that nobody asked for.
# - on systemd, a unit that this installation enabled would start at the next boot: disable those.
# All of it is taken back; what was there before is not touched.
root_part='
set -eu
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l RUNLEVEL=1
policy=/usr/sbin/policy-rc.d
dropin=/etc/postgresql-common/createcluster.d/howdah.conf
units="postgresql patroni etcd haproxy pgbouncer"
made_policy= made_dropin= known=
log=$(mktemp)
clean_up() {
  rm -f "$log"
  [ -z "$made_policy" ] || rm -f "$policy"
  [ -z "$made_dropin" ] || rm -f "$dropin"
}
trap clean_up EXIT
trap "exit 130" INT TERM HUP
for unit in $units; do
  for directory in /lib/systemd/system /usr/lib/systemd/system /etc/systemd/system; do
    [ ! -e "$directory/$unit.service" ] || known="$known $unit"
  done
done
if [ ! -e "$policy" ]; then
  made_policy=1
  printf "#!/bin/sh\nexit 101\n" >"$policy"
  chmod 755 "$policy"
fi
if [ ! -e /usr/bin/pg_createcluster ]; then
  mkdir -p "${dropin%/*}"
  made_dropin=1
  echo "create_main_cluster = false" >"$dropin"
fi
run_apt() {
  apt-get -qq -o DPkg::Lock::Timeout=120 "$@" >"$log" 2>&1 && return 0
  tail -n 20 "$log" >&2
  return 1
}
run_apt update || echo "setup: apt-get update failed: going on with the package lists as they are" >&2
run_apt -y -o Dpkg::Use-Pty=0 --no-install-recommends install "$@"
if [ -d /run/systemd/system ]; then
  for unit in $units; do
    case " $known " in
      *" $unit "*) ;;
      *) systemctl --quiet disable "$unit.service" 2>/dev/null || true ;;
    esac
  done
fi
'

install_packages() {
  command -v apt-get >/dev/null 2>&1 ||
    die "this is not Debian; install these yourself, then run this again: $*"
  say "installing Debian packages: $* (their services stay stopped)"
  if [ "$(id -u)" = 0 ]; then
    sh -c "$root_part" setup "$@"
  elif command -v sudo >/dev/null 2>&1 && may_sudo; then
    sudo sh -c "$root_part" setup "$@"
  else
    die "root is needed for that. Run this as root, then start again:
  sh $root/scripts/setup.sh --packages-only"
  fi
}

# Asks for a password only where a person can type it; never waits otherwise.
may_sudo() {
  sudo -n true 2>/dev/null && return 0
  [ -t 0 ] && [ -t 2 ] && sudo -v
}

install_npm_packages() {
  stamp=node_modules/.howdah-lock-sum
  lock_sum=$(cksum <package-lock.json)
  if [ -x node_modules/.bin/node ]; then
    [ "$(cat "$stamp" 2>/dev/null)" != "$lock_sum" ] || return 0
    # npm writes this file last. Newer than the lock file: somebody ran npm by hand, and running
    # programs may have these files open, which "npm ci" would take away from under them.
    if [ -n "$(find node_modules/.package-lock.json -newer package-lock.json 2>/dev/null)" ]; then
      echo "$lock_sum" >"$stamp"
      return 0
    fi
  fi
  command -v npm >/dev/null 2>&1 || die "npm is missing: apt-get install npm"
  say "installing npm packages"
  npm ci --no-audit --no-fund --loglevel=error >&2 || die "npm ci failed: see above"
  echo "$lock_sum" >"$stamp"
}

missing=$(list_missing)
if [ -n "$missing" ]; then
  # shellcheck disable=SC2086
  install_packages $missing
  still=$(list_missing)
  [ -z "$still" ] || die "still missing after the installation:" $still
fi
[ "${1:-}" != --packages-only ] || exit 0
install_npm_packages

version=$(node_modules/.bin/node --version) || die "Node.js of node_modules does not run"
case $version in
  v24.*) ;;
  *) die "node_modules has Node.js $version, 24 is needed: remove node_modules, then run this again" ;;
esac
