#!/usr/bin/env bash
# Puts an apptainer into containers/apptainer on a Debian 12, which has no package of it: `make apptainer`.
# Unpacks the package of a later Debian release with that release's C library beside it, from the mirror that apt is set to,
# and changes nothing else on the machine but that it installs patchelf and squashfs-tools where they are missing. Root only.
# Anywhere else, install apptainer as https://apptainer.org/docs/admin/main/installation.html says.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
prefix=$here/apptainer
program=$prefix/usr/bin/apptainer
suites=(trixie sid) # sid has apptainer, trixie the libraries it was linked with
libraries=(libc6 libgcc-s1 libseccomp2 libsqlite3-0)

fail() {
    echo "apptainer: error: $1" >&2
    shift
    printf '  %s\n' "$@" >&2
    exit 2
}

if [[ -x $program ]] && "$program" --version 2>/dev/null; then
    exit 0
fi
[[ $(uname -m) == x86_64 ]] || fail "this is for x86_64" "install apptainer as its documentation says"
[[ $EUID -eq 0 ]] || fail "only root can use an apptainer unpacked here" "ask for an installed one: it needs a set-up by root"
command -v apt-get >/dev/null || fail "there is no apt-get" "install apptainer as its documentation says"

missing=()
command -v patchelf >/dev/null || missing+=(patchelf)
command -v unsquashfs >/dev/null || missing+=(squashfs-tools)
if ((${#missing[@]})); then
    apt-get update -q >/dev/null
    apt-get install --yes -q --no-install-recommends "${missing[@]}" >/dev/null
fi
# apt's own list of what its mirrors have may be empty.
address() { apt-get indextargets --format '$(REPO_URI) $(ORIGIN) $(LABEL)' | sed -n 's/ Debian Debian$//p' | head -n 1; }
mirror=$(address)
if [[ -z $mirror ]]; then
    apt-get update -q >/dev/null
    mirror=$(address)
fi
[[ -n $mirror ]] || fail "apt is set to no Debian mirror" "install apptainer as its documentation says"

# Package lists of its own, so that the machine's stay as they are.
work=$(mktemp -d "$here/.apptainer-XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{lists/partial,cache/archives/partial,parts,packages,root}
for suite in "${suites[@]}"; do
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main"
done >"$work/sources.list"
apt=(apt-get -q -o "Dir::Etc::sourcelist=$work/sources.list" -o "Dir::Etc::sourceparts=$work/parts"
    -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root -o Acquire::Retries=3)
"${apt[@]}" update >/dev/null || fail "$mirror does not answer" "try again"
(cd "$work/packages" && "${apt[@]}" download apptainer "${libraries[@]/%//trixie}" >/dev/null) ||
    fail "$mirror has no apptainer in ${suites[*]}" "install apptainer as its documentation says"
for package in "$work"/packages/*.deb; do
    dpkg-deb -x "$package" "$work/root"
done

# Programs find their libraries by absolute paths: moved, the project needs `make apptainer` again.
root=$work/root
lib=$prefix/usr/lib/x86_64-linux-gnu
for binary in "$root/usr/bin/apptainer" "$root/usr/lib/x86_64-linux-gnu/apptainer/bin/starter"; do
    patchelf --set-interpreter "$lib/ld-linux-x86-64.so.2" --force-rpath --set-rpath "$lib:/usr/lib/x86_64-linux-gnu" "$binary"
done
for folder in "$root/usr" "$root/usr/lib"; do
    ln -sfn "$prefix/etc" "$folder/etc"
    ln -sfn "$prefix/var" "$folder/var"
done
mkdir -p "$root/var/lib/apptainer/mnt/session"
# Where root itself lacks a capability (a virtual machine), it cannot give all of them to root inside.
sed -i 's/^root default capabilities = full/root default capabilities = no/' "$root/etc/apptainer/apptainer.conf"
# Under its name only when it is whole.
rm -rf "$prefix"
mv "$root" "$prefix"
"$program" --version
