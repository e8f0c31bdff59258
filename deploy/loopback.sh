#!/usr/bin/env bash
# A real consortium on one machine: a SuperLink with TLS and node authentication, nginx in front of it, three hospitals
# with a daemon and a SuperNode each, one of them with its table in PostgreSQL. Runs one study on the stroke trial from
# nothing to the published folder, and ends every process that it started.
#   deploy/loopback.sh DIR          DIR must not exist; DIR/published holds the result
#   deploy/loopback.sh DIR --keep   leaves all of it running for further studies, until INT (Ctrl-C) or TERM
#   deploy/loopback.sh DIR --joint  a joint study of four small hospitals, in which the daemon of one is killed and
#                                   started again, and that of another one is killed for good
# DIR/processes has a script for each process, which starts it (again). As root, every role has a user of its own, and
# SuperLink and relays are closed to all others by a table of nftables, which goes again at the end; otherwise all run
# as you, and the script says so. Nothing is written outside of DIR and the folder for temporary files.
set -euo pipefail
if [ $# -lt 1 ] || [ $# -gt 2 ] || [ -e "$1" ] || [[ ! "${2:---keep}" =~ ^--(keep|joint)$ ]]; then
    echo "usage: deploy/loopback.sh DIR [--keep | --joint]    (DIR: a folder that does not exist yet)" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
bin=$(cd "$(dirname "$(command -v cohortmix || echo "$here/../.venv/bin/cohortmix")")" && pwd)
mkdir -p "$1"
root=$(cd "$1" && pwd) keep="" joint=""
case ${2:-} in --keep) keep=yes ;; --joint) joint=yes ;; esac
chmod 755 "$root"
mkdir "$root/logs" "$root/processes" "$root/mail" # mail: what people would send each other
sites=(UK NETH POLA) table=stroke.parquet column=network schema=$root/schema.yaml interval=2
if [ -n "$joint" ]; then
    sites=(UK-78 ITAL-3 CZEC-118 PORT-123) # none has patients enough for pairs of columns, and all together do
    table=hospitals.parquet column=hospital interval=0.5
    deadline=40s # of each step: as long as the one that is gone is waited for
fi
all=("${!sites[@]}")
database="" door="" names=/etc/passwd disturber=""
socket_group=64200 daemon_user=64210 relay_user=64220 # plus the number of the site
superlink_user=64230 coordinator_user=64231 nginx_user=64232

say() { printf '\n== %s\n' "$*"; }

warn() { printf 'WARNING: %s\n' "$*"; }

start() { # NAME UID COMMAND...: in the background, in a session of its own; its output goes to DIR/logs
    local script=$root/processes/$1 log=$root/logs/$1.log
    shift
    as_whom "$@"
    # shellcheck disable=SC2016 # $$ and $@ are those of the process
    command=(env "${environment[@]}" setsid bash -c 'echo $$ >"$0"; exec "$@"' "$script.pid" "${command[@]}")
    {
        printf '#!/usr/bin/env bash\n'
        printf '%q ' "${command[@]}"
        printf '</dev/null >>%q 2>&1 &\n' "$log"
    } >"$script"
    chmod +x "$script"
    "$script"
}

stop() {
    [ -z "$disturber" ] || kill "$disturber" 2>/dev/null || true
    for number in "$root/processes/"*.pid; do kill -- "-$(cat "$number")" || true; done 2>/dev/null
    await 60 ended || for number in "$root/processes/"*.pid; do kill -9 -- "-$(cat "$number")" || true; done 2>/dev/null
    [ -z "$database" ] || as_postgres "$database/pg_ctl" -D "$root/postgres/data" -m immediate stop >/dev/null || true
    [ -z "$door" ] || nft delete table inet "$door" || true
}
trap stop EXIT
trap 'exit 130' INT TERM

await() { # SECONDS COMMAND...: until it succeeds
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        if [ $SECONDS -ge $end ]; then
            echo "gave up waiting for: $*; see $root/logs" >&2
            return 1
        fi
        sleep 0.5
    done
}

ended() { for number in "$root/processes/"*.pid; do ! kill -0 -- "-$(cat "$number")" || return 1; done; }

at_once() { # FUNCTION: called for each hospital by its number, for all at the same time; then what each has said
    local n jobs=()
    for n in "${all[@]}"; do
        "$1" "$n" >"$root/logs/${sites[$n]}.log" 2>&1 &
        jobs+=($!)
    done
    for n in "${all[@]}"; do
        if ! wait "${jobs[$n]}"; then
            cat "$root/logs/${sites[$n]}.log" >&2
            exit 1
        fi
        cat "$root/logs/${sites[$n]}.log"
    done
}

disturb() { # what a joint study has to live through
    local returns=daemon-${sites[1]} gone=daemon-${sites[3]}
    await 900 input_came 1 "${sites[1]}"
    kill -9 -- "-$(cat "$root/processes/$returns.pid")"
    "$root/processes/$returns"
    say "$returns: killed and started again, in the middle of the first sum"
    await 900 input_came 2 "${sites[3]}"
    kill -9 -- "-$(cat "$root/processes/$gone.pid")"
    say "$gone: killed for good, after its input to the last sum"
}

input_came() { # ROUND SITE: whether the study's store has the site's input to the sum of this round
    as_user $coordinator_user python - "$study/study.db" "reply $1" "$2" <<'PY'
import sqlite3
import sys
from pathlib import Path

steps = sqlite3.connect(Path(sys.argv[1]).absolute().as_uri() + "?mode=ro", uri=True)
sys.exit(steps.execute("SELECT 1 FROM steps WHERE kind = ? AND id = ?", sys.argv[2:]).fetchone() is None)
PY
}

free_port() { python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

listens() { python -c 'import socket, sys; socket.create_connection(("127.0.0.1", int(sys.argv[1])), 1)' "$1"; }

as_user() { # UID COMMAND...: as a user of its own
    as_whom "$@"
    "${command[@]}"
}

as_whom() {
    command=("${@:2}")
    [ "$own_users" = yes ] || return 0
    local groups=--clear-groups
    # Daemon and relay of a hospital are in the group of its socket, and nobody else is.
    if [ "$1" -ge $daemon_user ] && [ "$1" -lt $((relay_user + 10)) ]; then
        groups=--groups=$((socket_group + $1 % 10))
    fi
    command=(setpriv --reuid "$1" --regid "$1" "$groups" "${command[@]}")
}

as_coordinator() { as_user $coordinator_user env FLWR_HOME="$coordinator/flower" cohortmix "$@"; }

give() { # UID PATH...: to its owner
    [ "$own_users" = no ] || chown -R "$1:$1" "${@:2}"
}

as_postgres() { # with the list of users that the server is to know, if it has one of its own
    local command=("$@")
    if [ "$(id -u)" = 0 ]; then command=(setpriv --reuid postgres --regid postgres --clear-groups "$@"); fi
    if [ "$names" = /etc/passwd ]; then "${command[@]}"; else
        # shellcheck disable=SC2016 # $0 and $@ are those of the inner shell
        unshare --mount bash -c 'mount --bind "$0" /etc/passwd && exec "$@"' "$names" "${command[@]}"
    fi
}

others_can_run() { # PYTHON
    setpriv --reuid $relay_user --regid $relay_user --clear-groups "$1" -c 'import os, sys, cohortmix.client.app as _
os.execv(sys.executable, [sys.executable, "-c", ""])' 2>"$root/logs/users.log"
}

shut_door() { # the ports of Flower are for its own processes: PORT "UIDS"... of this consortium
    local table="table inet $1" rules="" port
    shift
    while [ $# -gt 0 ]; do
        port="oifname lo tcp dport $1 tcp flags & (syn | ack) == syn"
        rules="$rules $port meta skuid != { 0, $2 } reject with tcp reset;"
        shift 2
    done
    nft "$table; delete $table; $table { chain output { type filter hook output priority filter; $rules }; }"
}

own_users=no
if [ "$(id -u)" != 0 ]; then
    warn "not root: all roles run as one user, so a relay could read the records beside it"
else
    if ! others_can_run "$bin/python"; then
        say "other users cannot run $bin/python: a copy for them in $root/home"
        "$here/home.sh" "$bin/python" "$root/home"
        bin=$root/home/bin
    fi
    if others_can_run "$bin/python"; then own_users=yes; fi
    [ $own_users = yes ] || warn "other users cannot run $bin/python (logs/users.log): all roles run as root"
fi
environment=(PATH="$bin:$PATH:/usr/sbin:/sbin" HOME="$root/nobody"
    FLWR_TELEMETRY_ENABLED=0 FLWR_DISABLE_UPDATE_CHECK=1 PYTHONDONTWRITEBYTECODE=1)
export "${environment[@]}"

if [ -n "$joint" ]; then say "the table of each hospital, of four columns and the outcome"; else
    say "the table of each hospital, of four columns and the outcome; that of ${sites[2]} is in PostgreSQL"
fi
python - "$here/demo/$table" "$column" "$root" "${sites[@]}" <<'PY'
import sys
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

table = pq.read_table(sys.argv[1])
for site in sys.argv[4:]:
    folder = Path(sys.argv[3], site)
    folder.mkdir()
    pq.write_table(table.filter(pc.equal(table[sys.argv[2]], site)), folder / "patients.parquet")
PY
# The lines of the schema that are not of a column, and those of a few columns: a mixture of all takes a minute.
grep -E '^[#a-z]|^  (AGE|RSBP|SEX|STYPE|outcome):' "$here/demo/schema.yaml" >"$schema"
data=()
for site in "${sites[@]}"; do data+=(--data "$root/$site/patients.parquet"); done
for found in "$(dirname "$(command -v postgres || true)")" /usr/lib/postgresql/*/bin; do
    [ -z "$joint" ] && [ -x "$found/initdb" ] && [ -x "$found/pg_ctl" ] && database=$found
done
if [ -n "$database" ]; then
    mkdir "$root/postgres"
    # Who connects is known by the system (peer); the user of the hospital's daemon may read its one table.
    reader=$(id -un)
    if [ $own_users = yes ]; then # that user is in no list of users: the server alone gets one that names it
        reader=reader names=$root/postgres/passwd
        { cat /etc/passwd; echo "reader:x:$((daemon_user + 2)):$((daemon_user + 2))::/:/usr/sbin/nologin"; } >"$names"
    fi
    printf '%s\n' "hospital $reader reader" "owner $(id -un) postgres" "owner postgres postgres" \
        >"$root/postgres/ident.conf"
    printf '%s\n' "local postgres reader peer map=hospital" "local all postgres peer map=owner" \
        >"$root/postgres/hba.conf"
    [ "$(id -u)" != 0 ] || chown -R postgres "$root/postgres"
    as_postgres "$database/initdb" -D "$root/postgres/data" --auth=peer --username=postgres >"$root/logs/initdb.log"
    as_postgres "$database/pg_ctl" -D "$root/postgres/data" -l "$root/postgres/server.log" -w start \
        -o "-c listen_addresses='' -c unix_socket_directories='$root/postgres' \
            -c hba_file='$root/postgres/hba.conf' -c ident_file='$root/postgres/ident.conf'" >/dev/null
    url="@/postgres?host=$root/postgres"
    python - "$root/${sites[2]}/patients.parquet" "postgresql+psycopg://postgres$url" <<'PY'
import sys

import pandas as pd
import sqlalchemy

engine = sqlalchemy.create_engine(sys.argv[2])
pd.read_parquet(sys.argv[1]).to_sql("patients", engine, index=False)
with engine.begin() as database:
    for right in (
        "CREATE ROLE reader LOGIN",
        "REVOKE ALL ON DATABASE postgres FROM PUBLIC",
        "REVOKE ALL ON SCHEMA public FROM PUBLIC",
        "GRANT CONNECT ON DATABASE postgres TO reader",
        "GRANT USAGE ON SCHEMA public TO reader",
        "GRANT SELECT ON patients TO reader",
    ):
        database.execute(sqlalchemy.text(right))
PY
    rm "$root/${sites[2]}/patients.parquet"
    data[5]=postgresql+psycopg://reader$url
    data+=(--table patients)
elif [ -z "$joint" ]; then
    warn "no PostgreSQL here: ${sites[2]} keeps its table in a file"
fi

say "the coordinator: certificates, SuperLink, and the proxy that hospitals reach"
coordinator=$root/coordinator superlink=$root/superlink
"$here/certificates.sh" "$root/tls" 127.0.0.1 # with the CA's key, which is for nobody here
install -d -m 711 "$coordinator"
install -d -m 700 "$coordinator/flower" "$superlink" "$superlink/tls"
cp "$root/tls/ca.crt" "$coordinator/ca.crt"
cp "$root"/tls/{ca.crt,server.crt,server.key} "$superlink/tls/"
give $coordinator_user "$coordinator"
give $superlink_user "$superlink"
port=$(free_port) relay_ports=()
for n in "${all[@]}"; do relay_ports+=("$(free_port)"); done
if [ "$own_users" = yes ] && nft list tables >/dev/null 2>&1; then # a kernel can lack it as well
    door=cohortmix_loopback_$port
    doors=("$port" "$superlink_user, $coordinator_user, $nginx_user")
    for n in "${all[@]}"; do doors+=("${relay_ports[$n]}" "$((relay_user + n))"); done
    shut_door "$door" "${doors[@]}"
else
    warn "no nftables here, or not root: every user of this machine can connect to the SuperLink, and submit to it"
fi
start superlink $superlink_user env FLWR_HOME="$superlink/flower" flower-superlink --host 127.0.0.1 --port "$port" \
    --ssl-ca-certfile "$superlink/tls/ca.crt" --ssl-certfile "$superlink/tls/server.crt" \
    --ssl-keyfile "$superlink/tls/server.key" --enable-supernode-auth --database "$superlink/superlink.db" \
    --disable-runtime-dependency-installation
cat >"$coordinator/flower/config.toml" <<END
[superlink]
default = "consortium"

[superlink.consortium]
address = "127.0.0.1:$port"
root-certificates = "$coordinator/ca.crt"
END
public=$port
if command -v nginx >/dev/null; then
    public=$(free_port)
    mkdir "$coordinator/nginx"
    cp -r "$superlink/tls" "$coordinator/nginx/tls"
    sed -e "s/listen 443 ssl/listen 127.0.0.1:$public ssl/" -e "s/coordinator.example.org/127.0.0.1/" \
        -e "s#/etc/cohortmix-coordinator#$coordinator/nginx/tls#" -e "s/127.0.0.1:8000/127.0.0.1:$port/" \
        "$here/nginx/cohortmix.conf" >"$coordinator/nginx/cohortmix.conf"
    cat >"$coordinator/nginx/nginx.conf" <<END
daemon off;
pid $coordinator/nginx/pid;
error_log stderr;
events {}
http {
    access_log off;
    client_body_temp_path $coordinator/nginx/body;
    proxy_temp_path $coordinator/nginx/proxy;
    fastcgi_temp_path $coordinator/nginx/fastcgi;
    uwsgi_temp_path $coordinator/nginx/uwsgi;
    scgi_temp_path $coordinator/nginx/scgi;
    include $coordinator/nginx/cohortmix.conf;
}
END
    give $nginx_user "$coordinator/nginx"
    start nginx $nginx_user nginx -e stderr -c "$coordinator/nginx/nginx.conf"
else
    warn "no nginx here: the relays reach all of the SuperLink, not its fleet endpoints alone"
fi

say "each hospital: a site, its pinned snapshot, and the description that it sends to the coordinator"
make_site() {
    local n=$1 site=${sites[$1]} folder=$root/${sites[$1]} options
    cp "$schema" "$folder/schema.yaml"
    mkdir "$folder/site"
    [ ! -e "$folder/patients.parquet" ] || chmod 600 "$folder/patients.parquet"
    give $((daemon_user + n)) "$folder"
    options=("${data[@]:2*n:2}")
    if [ "$n" = 2 ] && [ -n "$database" ]; then options=("${data[@]:4}"); fi
    as_user $((daemon_user + n)) cohortmix site init "$folder/site" --name "$site" "${options[@]}" \
        --schema "$folder/schema.yaml" --cap-mu 0.5
    as_user $((daemon_user + n)) cohortmix site check --config "$folder/site/site.yaml"
    install -m 644 "$folder/site/state/description.json" "$root/mail/$site.json"
}
at_once make_site

say "the coordinator drafts a study and signs it; every steward enrols the coordinator and approves it"
study=$coordinator/study
terms=("min_sites: 2" "deadline: 10m")
[ -z "$joint" ] || terms=("noise: joint" "conspirators: 1" "tolerated_dropouts: 1" "deadline: $deadline")
descriptions=$(printf "$root/mail/%s.json, " "${sites[@]}")
cat >"$coordinator/study.yaml" <<END
name: loopback
schema: schema.yaml
epsilon: 1
delta: 1e-5
overlap: disjoint
$(printf '%s\n' "${terms[@]}")
sites: [${descriptions%, }]
END
cp "$schema" "$coordinator/schema.yaml"
give $coordinator_user "$coordinator/"{study.yaml,schema.yaml}
as_coordinator study new "$coordinator/study.yaml" --key "$coordinator/coordinator.key" --out "$study"
chmod 700 "$study"
as_coordinator study sign "$study" --key "$coordinator/coordinator.key"
install -m 644 "$study/signed.json" "$root/mail/signed.json"
public_key=$(python -c 'import json, sys; print(json.load(open(sys.argv[1]))["coordinator_key"])' "$study/study.json")
decide() {
    local n=$1 folder=$root/${sites[$1]}/site peers=() other
    sed -i -e "s/^coordinators:.*/coordinators: [$public_key]/" "$folder/site.yaml"
    printf 'interval_seconds: %s\n' $interval >>"$folder/site.yaml" # 30 at a hospital
    if [ -n "$joint" ]; then # here all keys are known to be right; a steward compares each with its hospital
        for other in "${all[@]}"; do [ "$other" = "$n" ] || peers+=("$root/mail/${sites[$other]}.json"); done
        as_user $((daemon_user + n)) cohortmix site enrol "${peers[@]}" --config "$folder/site.yaml"
    fi
    as_user $((daemon_user + n)) cohortmix site approve "$root/mail/signed.json" --max-mu 0.3 --config "$folder/site.yaml"
}
at_once decide

say "daemons and relays"
await 60 listens "$port"
connect() {
    local n=$1 site=${sites[$1]} folder=$root/${sites[$1]}/site
    if [ "$own_users" = yes ]; then
        chgrp $((socket_group + n)) "$folder/run"
        chmod 2750 "$folder/run"
    fi
    mkdir "$root/$site/relay"
    ssh-keygen -q -t ecdsa -b 384 -N "" -C "$site" -f "$root/$site/relay/node.key"
    install -m 644 "$root/$site/relay/node.key.pub" "$root/mail/$site.pub"
    as_user $coordinator_user env FLWR_HOME="$coordinator/flower" \
        flwr supernode register "$root/mail/$site.pub" consortium
    cp "$root/tls/ca.crt" "$root/$site/relay/ca.crt"
    give $((relay_user + n)) "$root/$site/relay"
    start "daemon-$site" $((daemon_user + n)) cohortmix site serve --config "$folder/site.yaml"
    await 60 test -S "$folder/run/site.sock"
    start "relay-$site" $((relay_user + n)) env FLWR_HOME="$root/$site/relay" HOME="$root/$site/relay" \
        flower-supernode --superlink "127.0.0.1:$public" --root-certificates "$root/$site/relay/ca.crt" \
        --auth-supernode-private-key "$root/$site/relay/node.key" --host 127.0.0.1 --port "${relay_ports[$n]}" \
        --node-config "socket=\"$folder/run/site.sock\""
}
at_once connect

say "the study"
if [ -n "$joint" ]; then
    disturb &
    disturber=$!
fi
runs=1
until as_coordinator study run "$study" --key "$coordinator/coordinator.key"; do
    status=$?
    # On a busy machine a step of a joint study can have too few replies at its deadline; the next run goes on with it.
    if [ $status != 4 ] || [ -z "$joint" ] || [ $((runs++)) = 5 ]; then exit $status; fi
done
[ -z "$joint" ] || wait "$disturber"
disturber=""
as_coordinator study publish "$study" --key "$coordinator/coordinator.key" --out "$coordinator/published"
cp -r "$coordinator/published" "$root/published"
cohortmix verify "$root/published"
say "the ledger of each hospital"
show_ledger() {
    echo "${sites[$1]}"
    as_user $((daemon_user + $1)) cohortmix site ledger --config "$root/${sites[$1]}/site/site.yaml"
}
at_once show_ledger
say "published: $root/published"
[ -n "$keep" ] || exit 0

say "kept until INT or TERM; to go on, in another terminal (X: the mu of the study):"
echo "export PATH=$bin:\$PATH"
of_coordinator() {
    as_whom $coordinator_user env FLWR_HOME="$coordinator/flower" cohortmix "$@"
    echo "${command[*]} --key $coordinator/coordinator.key"
}
of_coordinator study new STUDY.yaml --out STUDY # as coordinator/study.yaml
of_coordinator study sign STUDY
for n in "${all[@]}"; do
    as_whom $((daemon_user + n)) cohortmix site approve STUDY/signed.json --max-mu X
    echo "${command[*]} --config $root/${sites[$n]}/site/site.yaml"
done
of_coordinator study run STUDY
echo "a process that was killed starts again by its script, such as $root/processes/daemon-${sites[0]}"
while sleep 1; do :; done
