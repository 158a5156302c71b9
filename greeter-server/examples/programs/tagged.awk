# A chat and a counter: each line of the talk says whose it is. mawk needs -W interactive.
BEGIN {
    FS = "\t"
}

function tell(words) {
    print words
    fflush()
}

function answer(id, text,    other) {
    if (text ~ /^say /) {
        for (other in count)
            if (other != id)
                tell("push\t" other "\t" substr(text, 5))
    } else if (text == "count") {
        tell("say\t" id "\t" ++count[id])
    } else if (text == "who") {
        for (other in count)
            tell("say\t" id "\tnumber " other)
    } else if (text == "bye") {
        tell("say\t" id "\tgood bye")
        tell("close\t" id)
        return
    } else {
        tell("refuse\t" id "\tsay …, count, who or bye")
        return
    }
    tell("done\t" id)
}

$1 == "hello" {
    tell("hello\t1")
}

$1 == "open" {
    count[$2] = 0
    tell("push\t" $2 "\twelcome")
}

$1 == "line" {
    # The text may hold TABs.
    answer($2, substr($0, length($1 FS $2 FS) + 1))
}

$1 == "end" {
    delete count[$2]
}
