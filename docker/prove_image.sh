#!/usr/bin/env bash
# Proves the image without a container engine: replays the Dockerfile's own steps on a bare Debian of the same release, then works
# in it as compose would, as user 10001 on a read-only root: imports every dependency, walks `demo` with the baselines that need
# compiled libraries, and starts nothing else. Needs root, debootstrap and a Debian mirror; takes some ten minutes.
#   docker/prove_image.sh [FOLDER]     FOLDER (default /var/tmp/borderline-image) is made anew and may be removed afterwards
set -euo pipefail
project=$(cd "$(dirname "$0")/.." && pwd)
root=${1:-/var/tmp/borderline-image}
image=$(sed -n 's/^FROM //p' "$project/docker/Dockerfile")
release=${image##*-}
[ "$(id -u)" = 0 ] || { echo "prove_image: must be root, to make a root folder of its own" >&2; exit 2; }
command -v debootstrap > /dev/null || { echo "prove_image: needs debootstrap: apt-get install debootstrap" >&2; exit 2; }

# Mounts live in a namespace of this process and end with it; what belongs to the machine is mounted read-only.
[ -n "${IN_OWN_NAMESPACE:-}" ] || exec env IN_OWN_NAMESPACE=1 unshare --mount --propagation private "$0" "$@"
mount_in() { mkdir -p "$root$1"; mount --bind "$1" "$root$1"; mount -o remount,ro,bind "$root$1"; }

echo "== a bare Debian $release, in place of $image"
if grep -q " $root[/ ]" /proc/mounts; then echo "prove_image: something is mounted in $root; unmount it first" >&2; exit 2; fi
rm -rf "$root"
# Python comes from Debian here and from the image there; nothing else may be there that slim images lack.
debootstrap --variant=minbase --include=ca-certificates,python3.11,python3.11-venv,python3-pip "$release" "$root" > /dev/null
cp -r /etc/apt/sources.list* /etc/apt/apt.conf.d "$root/etc/apt/" 2> /dev/null || true
for file in /etc/resolv.conf /etc/hosts /etc/pip.conf; do [ ! -e "$file" ] || cp -L "$file" "$root$file"; done
mount -t proc none "$root/proc"; mount_in /dev; mount_in /etc/ssl
[ ! -d /usr/share/keyrings ] || mount_in /usr/share/keyrings
for folder in ${PIP_FIND_LINKS:-}; do [ ! -d "$folder" ] || mount_in "$folder"; done
chroot "$root" python3.11 -m venv /usr/local/image
inside() { chroot "$root" env PATH=/usr/local/image/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"; }

echo "== the Dockerfile's steps"
work=/
steps=$(sed -e ':join' -e '/\\$/{N;s/ *\\\n */ /;b join' -e '}' "$project/docker/Dockerfile" | grep -E '^(WORKDIR|COPY|RUN) ')
while read -r step arguments; do
    echo "-- $step $arguments"
    case $step in
        WORKDIR) work=$arguments; mkdir -p "$root$work" ;;
        COPY)
            read -ra names <<< "$arguments"
            to=${names[-1]}; unset 'names[-1]'
            mkdir -p "$root$work/$(dirname "$to")"
            for name in "${names[@]}"; do
                if [ -d "$project/$name" ]; then mkdir -p "$root$work/$to"; cp -r "$project/$name/." "$root$work/$to"; else cp "$project/$name" "$root$work/$to"; fi
            done ;;
        RUN) inside bash -euo pipefail -c "cd $work && $arguments" < /dev/null ;;
    esac
done <<< "$steps"
for folder in datasets experiments studies docker; do mkdir -p "$root$work/$folder"; cp -r "$project/$folder/." "$root$work/$folder"; done

echo "== the work, as user 10001 on a read-only root"
mount --rbind "$root" "$root"; mount -o remount,ro,bind "$root"
for folder in /tmp /opt/dagster/storage /var/lib/borderline /var/lib/huggingface; do
    mount -t tmpfs -o mode=1777 none "$root$folder"
done
as_user() { chroot --userspec=10001:10001 "$root" env -i PATH=/usr/local/image/bin:/usr/bin:/bin HOME=/home/borderline HF_HOME=/var/lib/huggingface \
    MPLCONFIGDIR=/tmp/matplotlib BORDERLINE_HOME=/var/lib/borderline BORDERLINE_PROJECT="$work" BORDERLINE_RAW=/data/raw "$@"; }
as_user python - <<'PYTHON'
import ast, importlib, pathlib, sys
rooms = ("borderline", "orchestration", "assets", "training", "evaluation", "contracts")
found = {alias.name if isinstance(node, ast.Import) else node.module
         for room in rooms for path in pathlib.Path("/opt/borderline", room).rglob("*.py")
         for node in ast.walk(ast.parse(path.read_text()))
         if isinstance(node, ast.Import) or isinstance(node, ast.ImportFrom) and node.level == 0
         for alias in node.names}
optional = {"bitsandbytes"}  # weights in four bits, on CUDA only
wanted = sorted(name for name in found if name.split(".")[0] not in {*sys.stdlib_module_names, *rooms, *optional})
for name in wanted:
    importlib.import_module(name)
print(f"all {len(wanted)} modules that the code names are imported")
PYTHON
as_user borderline run --dataset demo --experiments popularity,item-knn,als,bpr 2>&1 | tail -25
as_user borderline leaderboard --dataset demo --format json > "$root/tmp/leaderboard.json"
grep -q '"als"' "$root/tmp/leaderboard.json"
echo "The image can do its work."
