# Sourced by the scripts that run tests: makes a Python environment under target/ with packages that others wrote: a verifier
# of webhooks, and Stripe's own. Where that is impossible it says so; the tests then say so, too, and go by the
# specifications' own examples alone.
# shellcheck shell=bash

python_home=target/python
# Each at its newest: what is signed, read and sent here is to agree with them.
python_packages=(standardwebhooks==1.1.0 stripe==16.1.0)

want_python() {
    local made="$python_home/made-${python_packages[*]}"
    if [ -x "$python_home/bin/python" ] && [ -f "${made// /-}" ]; then
        return
    fi
    rm -rf "$python_home"
    if ! make_python || ! touch "${made// /-}"; then
        rm -rf "$python_home"
        echo "$script: no Python environment with ${python_packages[*]} could be made:" >&2
        echo "$script: WEBHOOKS ARE NOT VERIFIED BY ANOTHER LANGUAGE'S LIBRARY IN THIS RUN," >&2
        echo "$script: AND NOTHING IS HELD AGAINST STRIPE'S OWN PACKAGE" >&2
    fi
}

make_python() {
    command -v python3 >/dev/null || install_venv || return 1
    python3 -c 'import ensurepip' 2>/dev/null || install_venv || return 1
    python3 -m venv "$python_home" &&
        "$python_home/bin/pip" install -q --disable-pip-version-check "${python_packages[@]}"
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
