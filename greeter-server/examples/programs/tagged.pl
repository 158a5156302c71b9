# A chat and a counter: each line of the talk says whose it is.
use strict;
use warnings;

# print flushes, has TABs between its words, and LF behind them.
($|, $,, $\) = (1, "\t", "\n");

my %count; # of each client that is here

sub answer {
    my ($me, $text) = @_;
    if ($text =~ s/^say //) {
        for my $other (keys %count) {
            print 'push', $other, $text if $other ne $me;
        }
    } elsif ($text eq 'count') {
        print 'say', $me, ++$count{$me};
    } elsif ($text eq 'who') {
        print 'say', $me, "number $_" for keys %count;
    } elsif ($text eq 'bye') {
        print 'say', $me, 'good bye';
        return print 'close', $me;
    } else {
        return print 'refuse', $me, 'say …, count, who or bye';
    }
    print 'done', $me;
}

while (my $line = <STDIN>) {
    chomp $line;
    my ($verb, $id, $text) = split /\t/, $line, 3;
    if ($verb eq 'hello') {
        print 'hello', 1;
    } elsif ($verb eq 'open') {
        $count{$id} = 0;
        print 'push', $id, 'welcome';
    } elsif ($verb eq 'line') {
        answer($id, $text);
    } elsif ($verb eq 'end') {
        delete $count{$id};
    }
}
