#!/usr/bin/env bash
# A copy of this environment that every user of this machine can run, for a Python under a folder that only its owner
# can enter, such as root's home. The packages are hard links where the file system allows it, so it costs no space.
#   home.sh PYTHON DIR          makes DIR/bin with python, cohortmix and Flower's programs; DIR must not exist
set -euo pipefail
if [ $# -ne 2 ] || [ -e "$2" ] || [ ! -x "$1" ]; then
    echo "usage: home.sh PYTHON DIR    (the python of an environment with cohortmix; a folder that does not exist yet)" >&2
    exit 2
fi
python=$1
mkdir -p "$2"
dir=$(cd "$2" && pwd)
facts() { "$python" -c "import sys, sysconfig; print($1)"; }
version=$(facts 'f"python{sys.version_info[0]}.{sys.version_info[1]}"')
base=$(facts 'sys.base_prefix') stdlib=$(facts 'sysconfig.get_path("stdlib")')
packages=$(facts 'sysconfig.get_path("purelib")')

take() { # FROM TO: a linked copy, or a true one where others could not read the files or none can be linked
    if [ -z "$(find "$1" ! -type l ! -perm -o+r -print -quit)" ] && cp -al "$1" "$2" 2>/dev/null; then return; fi
    rm -rf "$2"
    cp -a "$1" "$2"
    chmod -R a+rX "$2"
}

mkdir -p "$dir/base/bin" "$dir/base/lib" "$dir/bin" "$dir/lib/$version"
cp -L "$base/bin/$version" "$dir/base/bin/$version"
take "$stdlib" "$dir/base/lib/$version"
rm -rf "${dir:?}/base/lib/$version/site-packages" "${dir:?}/base/lib/$version/test"
for library in "$base"/lib/libpython3*; do [ ! -e "$library" ] || cp -a "$library" "$dir/base/lib/"; done
take "$packages" "$dir/lib/$version/site-packages"
printf 'home = %s\ninclude-system-site-packages = false\n' "$dir/base/bin" >"$dir/pyvenv.cfg"

# The packages of an editable install lie elsewhere: they are copied, as an installation would have them.
rm -f "$dir/lib/$version/site-packages/"__editable__*cohortmix*
for part in core protocol client server deploy; do
    from=$("$python" -c "import cohortmix.$part as part; print(part.__path__[0])")
    [ -e "$dir/lib/$version/site-packages/cohortmix/$part" ] && continue
    mkdir -p "$dir/lib/$version/site-packages/cohortmix"
    cp -rL "$from" "$dir/lib/$version/site-packages/cohortmix/$part"
done
name=$dir/lib/$version/site-packages/cohortmix/__init__.py
[ -e "$name" ] || cp "$("$python" -c 'import cohortmix; print(cohortmix.__file__)')" "$name"

# A Python that has its library beside it looks for that where it was built.
ln -s "$dir/base/bin/$version" "$dir/bin/$version"
cat >"$dir/bin/python" <<END
#!/bin/sh
LD_LIBRARY_PATH=$dir/base/lib\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH} exec $dir/bin/$version "\$@"
END
"$python" - "$dir/bin" <<'PY'
import sys
from importlib.metadata import distribution
from pathlib import Path

folder = Path(sys.argv[1])
for package in ("cohortmix", "flwr"):
    for script in distribution(package).entry_points.select(group="console_scripts"):
        lines = [f"#!{folder}/python", "import sys", f"from {script.module} import {script.attr}"]
        (folder / script.name).write_text("\n".join([*lines, f"sys.exit({script.attr}())", ""]))
PY
chmod -R a+rX "$dir/bin" "$dir/base/bin"
chmod a+rx "$dir" "$dir"/bin/* "$dir/base" "$dir/base/lib" "$dir/lib" "$dir/lib/$version"
