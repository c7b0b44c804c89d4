# Sourced by the scripts that run tests: finds PostgreSQL, or installs it. Messages begin with the script's own name.
# shellcheck shell=bash

script=scripts/$(basename "$0")
oldest=14

# Whether some folder holds a PostgreSQL server that is new enough.
has_postgres() {
    local folder major
    local -a folders
    IFS=: read -r -a folders <<<"$PATH"
    for folder in "${folders[@]}" /usr/lib/postgresql/*/bin; do
        if [ -x "$folder/initdb" ] && [ -x "$folder/pg_ctl" ] && [ -x "$folder/postgres" ]; then
            # postgres (PostgreSQL) 15.4 (Debian 15.4-1)
            major=$("$folder/postgres" --version | sed -n 's/^[^)]*) \([0-9]*\).*/\1/p')
            if [ "${major:-0}" -ge "$oldest" ]; then
                return 0
            fi
        fi
    done
    return 1
}

give_up() {
    echo "$script: $1" >&2
    echo "$script: the tests need PostgreSQL $oldest or newer (initdb, pg_ctl, postgres) in PATH or in /usr/lib/postgresql/*/bin" >&2
    exit 2
}

install_postgres() {
    command -v apt-get >/dev/null || give_up "no PostgreSQL found, and no apt-get to install it with"
    local -a as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || give_up "no PostgreSQL found, and neither root nor sudo to install it with"
        as_root=(sudo)
    fi
    echo "$script: installing PostgreSQL" >&2
    # A fresh machine may be busy with its own first updates.
    local -a apt=(apt-get -qq -o DPkg::Lock::Timeout=120)
    "${as_root[@]}" "${apt[@]}" update </dev/null || give_up "apt-get update failed"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive "${apt[@]}" install -y postgresql </dev/null >/dev/null ||
        give_up "apt-get install postgresql failed"
}

need_postgres() {
    if ! has_postgres; then
        install_postgres
        has_postgres || give_up "the package that was installed is too old"
    fi
}
