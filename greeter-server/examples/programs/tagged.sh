# A chat and a counter: each line of the talk says whose it is.
tab=$(printf '\t')
# Behind this, "$*" and lists have TABs between their words.
IFS=$tab
clients=

tell() {
    printf '%s\n' "$*"
}

answer() {
    case $2 in
    "say "*)
        for other in $clients; do
            [ "$other" = "$1" ] || tell push "$other" "${2#say }"
        done
        ;;
    count)
        tell say "$1" "$((count_$1 += 1))"
        ;;
    who)
        for other in $clients; do
            tell say "$1" "number $other"
        done
        ;;
    bye)
        tell say "$1" "good bye"
        tell close "$1"
        return
        ;;
    *)
        tell refuse "$1" "say …, count, who or bye"
        return
        ;;
    esac
    tell done "$1"
}

forget() {
    unset "count_$1"
    others=
    for other in $clients; do
        [ "$other" = "$1" ] || others=$others$other$tab
    done
    clients=$others
}

while IFS= read -r line; do
    verb=${line%%"$tab"*}
    rest=${line#*"$tab"}
    id=${rest%%"$tab"*}
    # It may hold TABs: read would take off those at its ends.
    text=${rest#*"$tab"}
    case $verb in
    hello)
        tell hello 1
        ;;
    open)
        clients=$clients$id$tab
        tell push "$id" welcome
        ;;
    line)
        answer "$id" "$text"
        ;;
    end)
        forget "$id"
        ;;
    esac
done
