#!/bin/sh
# An empty data folder becomes a cluster first; then the server takes this process's place.
set -eu
if [ "${1-}" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
    : "${POSTGRES_PASSWORD:?set POSTGRES_PASSWORD to the password that user postgres shall have}"
    secret=$(mktemp)
    printf '%s\n' "$POSTGRES_PASSWORD" >"$secret"
    initdb --auth-local=trust --auth-host=scram-sha-256 --username=postgres --pwfile="$secret" >/dev/null
    rm -f "$secret"
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    echo "listen_addresses = '*'" >>"$PGDATA/postgresql.conf"
fi
exec "$@"
