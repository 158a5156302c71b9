# Adds up the numbers of one client: it has this process to itself.
use strict;
use warnings;

$| = 1;
my $total = 0;
print "hello, ", $ENV{TCPREMOTEIP} // "you", "\n";
while (print("> ") && defined(my $line = <STDIN>)) {
    # Lines come with the ends that they had.
    $line =~ s/\r?\n//;
    last if $line eq "quit";
    if ($line =~ /^[0-9]{1,9}$/) {
        $total += $line;
    } else {
        print "that is no number\n";
    }
}
print "$total in all\n";
