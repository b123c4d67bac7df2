# SPDX-License-Identifier: LGPL-2.1-or-later
# bash completion for nbdsnap; needs the bash-completion package.

# Complete POINT, or TO of a range FROM..TO, in "VOLUME@POINT".  Names come
# from the storage and may hold anything: they are matched and quoted here,
# never handed to something that expands them.
_nbdsnap_points() {
    local cur=$1 volume=${1%%@*} typed=${1#*@} range='' reference point quoted
    shift

    [[ $typed == *..* ]] && range=${typed%..*}..
    while IFS= read -r reference; do
        point=${reference##*@}
        if [[ $point == "${typed#"$range"}"* ]]; then
            printf -v quoted %q "$point"
            COMPREPLY+=("$volume@$range$quoted")
        fi
    done < <(
        nbdsnap "$@" list --quiet -- "$volume" 2>/dev/null
        printf '@%s\n' live newest backing empty
    )
    compopt -o nospace
}

# Complete a path, also behind "DRIVER:".
_nbdsnap_volumes() {
    local cur=$1 prefix=''

    if [[ $cur =~ ^[a-z][a-z0-9-]*: ]]; then
        prefix=${BASH_REMATCH[0]}
        mapfile -t COMPREPLY < <(compgen -f -P "$prefix" -- "${cur#"$prefix"}")
        compopt -o nospace
    else
        _filedir
    fi
}

# readline replaces only what stands behind the last word break.
_nbdsnap_trim() {
    local cur=$1 i head=''

    [[ $cur == *:* && $COMP_WORDBREAKS == *:* ]] && head=${cur%"${cur##*:}"}
    [[ $cur == *@* && $COMP_WORDBREAKS == *@* ]] && head=${cur%"${cur##*@}"}
    for i in "${!COMPREPLY[@]}"; do
        COMPREPLY[i]=${COMPREPLY[i]#"$head"}
    done
}

_nbdsnap() {
    local cur prev words cword split=false
    _init_completion -s -n :@ || return

    local verbs='create list show delete diff serve activate deactivate ack thaw drivers doctor help'
    local global='--state-dir --secret --snapshot-dir --json --bytes --quiet --progress --help --version'
    local verb='' state=() i

    for ((i = 1; i < cword; i++)); do
        case ${words[i]} in
            --state-dir) state+=(--state-dir "${words[++i]}") ;;
            --state-dir=*) state+=("${words[i]}") ;;
            --snapshot-dir) state+=(--snapshot-dir "${words[++i]}") ;;
            --snapshot-dir=*) state+=("${words[i]}") ;;
            --secret) ((++i)) ;;
            -*) ;;
            *) [[ $verb ]] || verb=${words[i]} ;;
        esac
    done

    case $prev in
        --state-dir) _filedir -d; return ;;
        --secret | --socket | --metrics | --qmp | --agent) _filedir; return ;;
        --pre-cut | --post-cut) mapfile -t COMPREPLY < <(compgen -c -- "$cur"); return ;;
        --scratch) _filedir -d; return ;;
        --user) mapfile -t COMPREPLY < <(compgen -u -- "$cur"); return ;;
        -U) [[ $verb == serve ]] && _filedir && return ;;
        --format) mapfile -t COMPREPLY < <(compgen -W 'text json qemu-map map totals' -- "$cur"); return ;;
        --quiesce) mapfile -t COMPREPLY < <(compgen -W 'agent pause none' -- "$cur"); return ;;
        --mechanism) mapfile -t COMPREPLY < <(compgen -W 'auto cbw fleece' -- "$cur"); return ;;
        --name | --forget | --disk | --domain | --connect | --consumer | --hook-timeout | --snapshot-dir | --listen | --port | --max-connections | --timeout) return ;;
        -l | -p) [[ $verb == serve ]] && return ;;
        -n) [[ $verb == create ]] && return ;;
        -f) [[ $verb == diff ]] && mapfile -t COMPREPLY < <(compgen -W 'text json qemu-map map totals' -- "$cur") && return ;;
    esac
    $split && return

    if [[ $cur == -* ]]; then
        local own=''
        case $verb in
            create) own='--name --atomic --force --qmp --agent --domain --connect --disk --quiesce --mechanism --scratch --consumer --pre-cut --post-cut --hook-timeout' ;;
            ack) own='--failed' ;;
            thaw) own='--qmp --agent --domain --connect' ;;
            delete) own='--dry-run' ;;
            doctor) own='--dry-run --forget' ;;
            diff) own='--format' ;;
            serve) own='--listen --socket --port --max-connections --timeout --exit-with-parent --keep-cache --metrics --user --confine --tls --tls-certificates --tls-verify-peer --tls-psk' ;;
        esac
        mapfile -t COMPREPLY < <(compgen -W "$own $global" -- "$cur")
        return
    fi

    case $verb in
        '' | help) mapfile -t COMPREPLY < <(compgen -W "$verbs" -- "$cur") ;;
        create | list) _nbdsnap_volumes "$cur" ;;
        show | delete | diff | serve | activate | deactivate)
            if [[ $cur == *@* ]]; then
                _nbdsnap_points "$cur" "${state[@]}"
            else
                _nbdsnap_volumes "$cur"
                compopt -o nospace
            fi
            ;;
    esac
    _nbdsnap_trim "$cur"
} &&
    complete -F _nbdsnap nbdsnap
