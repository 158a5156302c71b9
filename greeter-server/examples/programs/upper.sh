# Answers each line in capitals. Of a shell, each line costs a process or two.
while IFS= read -r line; do
    printf '%s\n' "$line" | tr '[:lower:]' '[:upper:]'
done
