// Tsnsrv-bench is what the benchmark in bench/ needs in Go: a relay for the control server, an upstream, bare nodes to
// compare with, and a client on the tailnet that asks the services and tells what it saw, or attacks them.
//
// Each subcommand prints JSON lines on stdout, the first one when it is ready, and logs to stderr.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// authKeyVariable is where nodes and client find the auth key for their first login.
const authKeyVariable = "TSNSRV_BENCH_AUTH_KEY"

// console is where a subcommand talks to whoever started it.
type console struct {
	stdin io.Reader
	lines *lines
	log   *slog.Logger
	flags *flag.FlagSet
	args  []string
}

var subcommands = map[string]func(context.Context, *console) error{
	"relay": relay, "upstream": upstream, "nodes": nodes, "client": client, "attacks": listAttacks,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) < 2 || subcommands[os.Args[1]] == nil {
		fmt.Fprintf(os.Stderr, "usage: tsnsrv-bench %s [flags]\n", strings.Join(slices.Sorted(maps.Keys(subcommands)), "|"))
		os.Exit(2)
	}
	flags := flag.NewFlagSet("tsnsrv-bench "+os.Args[1], flag.ExitOnError)
	err := subcommands[os.Args[1]](ctx, &console{
		stdin: os.Stdin,
		lines: &lines{encoder: json.NewEncoder(os.Stdout)},
		log:   slog.New(slog.NewTextHandler(os.Stderr, nil)),
		flags: flags,
		args:  os.Args[2:],
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintf(os.Stderr, "tsnsrv-bench %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}

// parse reads the flags that the subcommand has declared.
func (c *console) parse() error {
	if err := c.flags.Parse(c.args); err != nil {
		return err
	}
	if c.flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", c.flags.Arg(0))
	}
	return nil
}

// parseUntilStdin is parse for subcommands that read nothing: with -exit-with-stdin the context ends when stdin closes, so
// that a child does not outlive a parent that was killed.
func (c *console) parseUntilStdin(ctx context.Context) (context.Context, error) {
	exitWithStdin := c.flags.Bool("exit-with-stdin", false, "end when stdin closes")
	if err := c.parse(); err != nil || !*exitWithStdin {
		return ctx, err
	}
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		// A read error ends it as well: the parent is gone either way.
		_, _ = io.Copy(io.Discard, c.stdin)
	}()
	return ctx, nil
}

// lines prints one JSON value a line, from any goroutine.
type lines struct {
	mu      sync.Mutex
	encoder *json.Encoder
}

// print writes a value. A parent that went away does not read it, and ends us by closing stdin or by a signal.
func (l *lines) print(value any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.encoder.Encode(value)
}

// takeAuthKey returns the auth key and removes it from the environment.
func takeAuthKey() string {
	key := os.Getenv(authKeyVariable)
	os.Unsetenv(authKeyVariable)
	return key
}
