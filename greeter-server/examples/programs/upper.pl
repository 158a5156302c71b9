# Answers each line in capitals.
use strict;
use warnings;

$| = 1;
while (my $line = <STDIN>) {
    print uc $line;
}
