# Sourced by the scripts that run tests: makes a Python environment under target/ with a verifier of webhooks that others
# wrote. Where that is impossible it says so; the tests then say so, too, and go by the specification's own example alone.
# shellcheck shell=bash

verifier=target/standardwebhooks
verifier_version=1.1.0

want_verifier() {
    if [ -x "$verifier/bin/python" ] && [ -f "$verifier/made-$verifier_version" ]; then
        return
    fi
    rm -rf "$verifier"
    if ! make_verifier; then
        rm -rf "$verifier"
        echo "$script: no Python environment with standardwebhooks $verifier_version could be made:" >&2
        echo "$script: WEBHOOKS ARE NOT VERIFIED BY ANOTHER LANGUAGE'S LIBRARY IN THIS RUN" >&2
    fi
}

make_verifier() {
    command -v python3 >/dev/null || install_venv || return 1
    python3 -c 'import ensurepip' 2>/dev/null || install_venv || return 1
    python3 -m venv "$verifier" &&
        "$verifier/bin/pip" install -q --disable-pip-version-check "standardwebhooks==$verifier_version" &&
        touch "$verifier/made-$verifier_version"
}

install_venv() {
    command -v apt-get >/dev/null || return 1
    local -a as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || return 1
        as_root=(sudo)
    fi
    local -a apt=(apt-get -qq -o DPkg::Lock::Timeout=120)
    "${as_root[@]}" "${apt[@]}" update </dev/null &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive "${apt[@]}" install -y python3-venv </dev/null >/dev/null
}
