# Sourced by the other scripts: makes a virtual environment and installs this checkout into it, if needed.
# usage: use_environment EXTRAS [FOLDER [REQUIREMENTS]]     EXTRAS as in pip: dev,rpc,http,link; REQUIREMENTS: a file

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

use_environment() {
    local extras="$1" folder="${2:-.venv}" requirements="${3:-}" python="${PYTHON:-python3}" stamp larger
    # The environment of the page, and that of the tests, also serve a script that needs less.
    for larger in http dev,rpc,http,link; do
        if [ "${extras:-http}" = http ] && grep -qs "^$larger " "$folder/.installed"; then
            extras=$larger
        fi
    done
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        echo "error: raven needs Python 3.11 or newer, and $python is older or missing: set PYTHON to a newer one" >&2
        return 1
    fi
    stamp="${extras:-plain} $("$python" --version) $(cat pyproject.toml ${requirements:+"$requirements"} | cksum)"
    if [ "$(cat "$folder/.installed" 2>/dev/null)" = "$stamp" ]; then
        return 0
    fi
    echo "making $folder with $("$python" --version) ..." >&2
    "$python" -m venv --clear "$folder" &&
        "$folder/bin/python" -m pip install --quiet --disable-pip-version-check \
            --editable ".${extras:+[$extras]}" ${requirements:+--requirement "$requirements"} &&
        PYTHONDONTWRITEBYTECODE='' "$folder/bin/python" -m compileall -q raven rpc &&
        echo "$stamp" > "$folder/.installed"
}
