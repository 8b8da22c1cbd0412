package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"tailscale.com/tsnet"
	"tailscale.com/types/logger"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/cores"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/delayedack"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/interfaces"
)

const clientHostname = "bench-client"

// command is a line on the client's stdin.
type command struct {
	// Do is await, load, quiet, peers, attack, look, release, or cancel, which ends the one that is running.
	Do      string   `json:"do"`
	Targets []string `json:"targets"` // host names of services

	TimeoutMs int   `json:"timeoutMs"` // await, quiet, attack
	QuietMs   int   `json:"quietMs"`   // quiet
	SinceMs   int64 `json:"sinceMs"`   // quiet; Unix time from which on it counts; default 0, all that was
	Renew     *bool `json:"renew"`     // await; default true

	Mode          string  `json:"mode"` // load, and the rest
	PerSecondEach float64 `json:"perSecondEach"`
	Connections   int     `json:"connections"`
	Fresh         bool    `json:"fresh"` // a new connection for each request
	DurationMs    int     `json:"durationMs"`

	Attack        string `json:"attack"`        // attack, and the rest; see catalogue
	Count         int    `json:"count"`         // of openings; default that of the attack
	SpreadMs      int    `json:"spreadMs"`      // over which they are made
	Via           string `json:"via"`           // tailnet or funnel
	Secure        string `json:"secure"`        // the service that is attacked, host name
	Plain         string `json:"plain"`         // the same without TLS; tailnet only
	FunnelAddress string `json:"funnelAddress"` // where the internet's port 443 is; funnel only
	Clients       int    `json:"clients"`       // addresses that they come from; default 1; funnel only
}

// listed answers the command peers.
type listed struct {
	Event string `json:"event"`
	Peers []peer `json:"peers"`
}

// asking is the client's node with all that its commands need.
type asking struct {
	dial     dial
	sessions *sessions
	peers    *peers
	changes  *changes
	lines    *lines
	node     func(ctx context.Context, network, address string) (net.Conn, error)
	assault  *assault // nil: none goes on
}

// client is one node that asks services over the tailnet, as it is told on stdin. The end of stdin is its end.
func client(ctx context.Context, c *console) error {
	stateDir := c.flags.String("state-dir", "", "`directory` of the node")
	controlURL := c.flags.String("control-url", "", "`URL` of the control server")
	ignored := c.flags.String("ignore-interfaces", "", "comma-separated shell patterns of network interfaces to leave out")
	https := c.flags.Bool("https", false, "ask by https, without a look at certificates")
	metricsAddress := c.flags.String("metrics-addr", "127.0.0.1:0", "`address` of metrics and profiles")
	c.flags.Bool("exit-with-stdin", true, "always the case, as commands come from there")
	authKey := takeAuthKey()
	if err := c.parse(); err != nil {
		return err
	}
	if *stateDir == "" || *controlURL == "" {
		return errors.New("-state-dir and -control-url are needed")
	}
	cores.FollowLoad() // it shares the host's cores with what is measured
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// Read from now on, so that stdin's end is seen while the node starts.
	commands := readCommands(ctx, cancel, c.stdin, c.lines)

	table, err := interfaces.New(strings.FieldsFunc(*ignored, func(r rune) bool { return r == ',' }), c.log)
	if err != nil {
		return err
	}
	defer table.Close()
	table.Install()
	metricsURL, stopMetrics, err := serve(*metricsAddress, inspect())
	if err != nil {
		return err
	}
	defer stopMetrics()
	changes, err := followChanges(ctx)
	if err != nil {
		return err
	}
	server := &tsnet.Server{
		Hostname: clientHostname, Dir: *stateDir, ControlURL: *controlURL, AuthKey: authKey, UserLogf: logger.Discard,
	}
	status, err := server.Up(ctx)
	if err != nil {
		return fmt.Errorf("bringing up the node: %w", err)
	}
	defer server.Close()
	defer table.Attach(server.Sys().NetMon.Get())()
	// As the TCP of the systems that people have does, unlike the one in tsnet: without it, who is asked has to decrypt a packet more
	// for each answer.
	delayedack.Install(server.Sys().Tun.Get())
	sessions, err := sessionsOf(server)
	if err != nil {
		return err
	}
	c.lines.print(event{Event: "ready", Addresses: status.TailscaleIPs, MetricsURL: metricsURL})
	dial := plainly(server.Dial)
	if *https {
		dial = securely(server.Dial)
	}
	a := &asking{
		dial: dial, sessions: sessions, peers: followPeers(ctx, sessions.local), changes: changes, lines: c.lines,
		node: server.Dial,
	}
	defer a.release()
	a.follow(ctx, commands)
	return nil
}

// readCommands delivers what stdin says, and calls ended at its end. What is no command is answered with an error.
func readCommands(ctx context.Context, ended func(), stdin io.Reader, lines *lines) <-chan command {
	commands := make(chan command)
	go func() {
		defer ended()
		scanner := bufio.NewScanner(stdin)
		scanner.Buffer(nil, 1<<20)
		for scanner.Scan() {
			var next command
			decoder := json.NewDecoder(bytes.NewReader(scanner.Bytes()))
			decoder.DisallowUnknownFields()
			if err := decoder.Decode(&next); err != nil {
				lines.print(event{Event: "error", Message: "no command: " + err.Error()})
				continue
			}
			select {
			case commands <- next:
			case <-ctx.Done():
				return
			}
		}
	}()
	return commands
}

// follow runs one command at a time until ctx is done.
func (a *asking) follow(ctx context.Context, commands <-chan command) {
	var answer <-chan any // of the command that is running; nil: none is
	cancel := func() {}
	for {
		select {
		case <-ctx.Done():
			if answer != nil {
				<-answer // its context is done as well
			}
			return
		case result := <-answer:
			cancel()
			answer = nil
			a.lines.print(result)
		case next := <-commands:
			switch {
			case next.Do == "cancel":
				cancel()
			case answer != nil:
				a.lines.print(event{Event: "error", Message: fmt.Sprintf("%q has to wait: a command is running", next.Do)})
			default:
				answer, cancel = a.begin(ctx, next)
			}
		}
	}
}

func (a *asking) begin(ctx context.Context, next command) (answer <-chan any, cancel func()) {
	ctx, cancel = context.WithCancel(ctx)
	result := make(chan any, 1)
	go func() { result <- a.run(ctx, next) }()
	return result, cancel
}

// run carries out a command and returns the answer.
func (a *asking) run(ctx context.Context, next command) any {
	limited, cancel := context.WithTimeout(ctx, time.Duration(next.TimeoutMs)*time.Millisecond)
	defer cancel()
	switch next.Do {
	case "await":
		w := &waiter{dial: a.dial, peers: a.peers, lines: a.lines}
		if next.Renew == nil || *next.Renew {
			w.sessions = a.sessions
		}
		return w.await(limited, next.Targets)
	case "quiet":
		return a.changes.awaitQuiet(limited, time.UnixMilli(next.SinceMs), time.Duration(next.QuietMs)*time.Millisecond)
	case "peers":
		return listed{Event: "done", Peers: a.peers.list()}
	case "load":
		targets, err := a.peers.named(next.Targets)
		if err != nil {
			return event{Event: "error", Message: err.Error()}
		}
		result, err := runLoad(ctx, a.dial, targets, loadSpec{
			mode:          next.Mode,
			connections:   next.Connections,
			perSecondEach: next.PerSecondEach,
			fresh:         next.Fresh,
			duration:      time.Duration(next.DurationMs) * time.Millisecond,
		}, a.lines)
		if err != nil {
			return event{Event: "error", Message: err.Error()}
		}
		return result
	case "attack":
		return a.attack(limited, next)
	case "look":
		return a.look()
	case "release":
		return a.release()
	default:
		return event{Event: "error", Message: fmt.Sprintf("unknown command %q", next.Do)}
	}
}
