# Adds up the numbers of one client: it has this process to itself. mawk needs -W interactive.
function prompt() {
    printf "> "
    fflush()
}

BEGIN {
    total = 0
    client = "TCPREMOTEIP" in ENVIRON ? ENVIRON["TCPREMOTEIP"] : "you"
    print "hello, " client
    prompt()
}

# Lines come with the ends that they had.
{ sub(/\r$/, "") }

$0 == "quit" { exit }

/^[0-9]+$/ && length($0) < 10 {
    total += $0
    prompt()
    next
}

{
    print "that is no number"
    prompt()
}

END { print total " in all" }
