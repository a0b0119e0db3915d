#!/bin/bash
# Starts a line of shell text as the ranks of an MPI job: start LINE
#
# Which MPI there is shows only now, after the job's preparation. The ranks have the
# environment of their own node, which the agent hands on and no command line shows.

# @settings@
line=$1

fail() {
    printf 'lote: %s\n' "$2" >&2
    exit "$1"
}

# Images for machines with RDMA have Intel MPI below /opt/intel and not on PATH.
use_intel_mpi() {
    local root=$intel_root candidate script=
    set -- "$rdma_devices"/*
    [ -e "$1" ] || return
    for candidate in \
        "$root"/impi/*/intel64/bin/mpivars.sh \
        "$root"/compilers_and_libraries*/linux/mpi/intel64/bin/mpivars.sh \
        "$root"/oneapi/mpi/*/env/vars.sh; do
        [ -r "$candidate" ] && script=$candidate
    done
    [ -n "$script" ] || return
    # It would take the line for an argument of its own.
    set --
    . "$script"
}

# Open MPI before version 5 names its own layer's parameters otherwise.
open_mpi() {
    local major=$1 mca=--mca rsh=plm_rsh include=oob_tcp_if_include
    if [ "$major" -ge 5 ]; then
        mca=--prtemca rsh=plm_ssh include=prte_if_include
    fi
    # Sockets below it must not get longer than 108 characters.
    if [ "${#TMPDIR}" -gt 40 ]; then
        export OMPI_MCA_orte_tmpdir_base=/tmp PRTE_MCA_prte_tmpdir_base=/tmp
    fi
    set -- -np "$processes" --hostfile "$hosts" --allow-run-as-root --bind-to none --map-by slot
    if [ -z "$agent" ]; then
        # Never called, but it does not start without one.
        exec "$mpirun" "$@" $mca ${rsh}_agent false bash -c "$line"
    fi
    set -- "$@" $mca ${rsh}_agent "$agent" $mca ${rsh}_no_tree_spawn 1
    # A user who knows the network better has set one of these.
    if [ -z "$OMPI_MCA_btl_tcp_if_include$OMPI_MCA_btl_tcp_if_exclude" ]; then
        if [ -n "$network" ]; then
            set -- "$@" --mca btl_tcp_if_include "$network" $mca $include "$network"
        else
            set -- "$@" --mca btl_tcp_if_exclude docker0,lo
        fi
    fi
    # mpirun says which rank on which node was killed, but not always: its last words may be lost.
    local rank='trap : HUP INT QUIT USR1 USR2; trap told=1 TERM; bash -c "$1"; code=$?
        if [ $code != 0 ] && [ -z "$told" ]; then
            echo "rank $OMPI_COMM_WORLD_RANK on node $AZ_BATCH_NODE_ID ended with code $code" >&2
        fi
        exit $code'
    exec "$mpirun" "$@" bash -c "$rank" rank "$line"
}

# A Hydra launcher would give the variables of this node to the ranks on all nodes;
# without that (-genvnone) they have what the agent gave to their own node.
mpich() {
    if [ -z "$agent" ]; then
        exec "$mpirun" -n "$processes" bash -c "$line"
    fi
    exec "$mpirun" -genvnone -n "$processes" -f "$machines" -localhost "$this_host" \
        -launcher rsh -launcher-exec "$agent" bash -c "$line"
}

intel_mpi() {
    if [ -z "$agent" ]; then
        exec "$mpirun" -n "$processes" bash -c "$line"
    fi
    exec "$mpirun" -genvnone -n "$processes" -f "$machines" \
        -bootstrap rsh -bootstrap-exec "$agent" bash -c "$line"
}

use_intel_mpi
path=$(type -P mpirun || type -P mpiexec) ||
    fail 127 "there is no mpirun on PATH; install an MPI in the image, on the nodes or in the job's preparation, such as openmpi-bin"
# By its name: from an absolute path Open MPI would conclude where it is on other nodes.
mpirun=${path##*/}
version=$("$mpirun" --version 2>&1)
case $version in
*'Open MPI'* | *OpenRTE*)
    [[ $version =~ \)\ +([0-9]+)\. ]]
    open_mpi "${BASH_REMATCH[1]:-4}"
    ;;
*'Intel(R) MPI'*) intel_mpi ;;
*HYDRA* | *Hydra* | *hydra*) mpich ;;
*) fail 126 "$path is none of Open MPI, MPICH and Intel MPI; its version is: ${version%%$'\n'*}" ;;
esac
