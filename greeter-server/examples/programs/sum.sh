# Adds up the numbers of one client: it has this process to itself.
cr=$(printf '\r')
total=0

echo "hello, ${TCPREMOTEIP:-you}"
while printf '> ' && IFS= read -r line; do
    # Lines come with the ends that they had.
    line=${line%"$cr"}
    case $line in
    quit)
        break
        ;;
    '' | *[!0-9]* | ??????????*)
        echo "that is no number"
        ;;
    *)
        total=$(expr "$total" + "$line")
        ;;
    esac
done
echo "$total in all"
