/** What else runs on a host of containers: processes with listening sockets, which whoever scans /proc has to look at. */
import { type Attendant, startAttendant } from './attendant.ts'
import { enterNamespace } from './namespaces.ts'

const FIRST_PORT = 20_000
export const SOCKETS_PER_PROCESS = 2

/**
 * Each process is a `cat` (0.1 MB) that waits for the end of the common standard input and has inherited its sockets, which
 * perl keeps open through exec() because of $^F. perl-base is on every Debian; sh cannot listen.
 */
const SCRIPT = `
use strict; use warnings; use Socket;
my ($processes, $sockets, $port) = @ARGV;
$^F = 1000; $| = 1;
for (1 .. $processes) {
  my @held;
  for (1 .. $sockets) {
    socket(my $socket, PF_INET, SOCK_STREAM, 0) or die "socket: $!\\n";
    bind($socket, sockaddr_in($port, INADDR_LOOPBACK)) or die "bind to port $port: $!\\n";
    listen($socket, 1) or die "listen: $!\\n";
    $port++;
    push @held, $socket;
  }
  my $pid = fork() // die "fork: $!\\n";
  next if $pid;
  open(STDOUT, '>', '/dev/null') or die "/dev/null: $!\\n";
  exec('cat') or die "cat: $!\\n";
}
print "ready\\n";
1 while sysread(STDIN, my $byte, 1);
1 while wait() != -1;
`

/** Starts `processes` of them, listening on 127.0.0.1 from port 20000 on. */
export function startListeners(namespace: string, processes: number): Attendant {
  const args = ['-e', SCRIPT, ...[processes, SOCKETS_PER_PROCESS, FIRST_PORT].map(String)]
  return startAttendant('the listening processes (perl)', ...enterNamespace(namespace, 'perl', args))
}
