package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// openingAtOnce is how many openings are made side by side, and openTimeout what each may take.
	openingAtOnce = 16
	openTimeout   = 5 * time.Second
	// nudgePause is for the answer to a nudge to arrive.
	nudgePause = 200 * time.Millisecond
	// internetClients is how many addresses of loopback there may be for clients from the internet.
	internetClients = 250
)

// assault is an attack that goes on.
type assault struct {
	mu     sync.Mutex
	fronts []*front
}

// front is the part of an assault that has one shape.
type front struct {
	shape
	to       target
	held     []held
	failures map[string]int
}

// assaulted answers the commands attack, look and release.
type assaulted struct {
	Event  string   `json:"event"`
	Shapes []*tally `json:"shapes"`
}

// attack makes the openings of an attack, spread over a while, and returns when they are made or ctx is done. They last until
// release.
func (a *asking) attack(ctx context.Context, next command) any {
	if a.assault != nil {
		return event{Event: "error", Message: "an attack goes on: release it first"}
	}
	chosen, err := findAttack(next.Attack)
	if err != nil {
		return event{Event: "error", Message: err.Error()}
	}
	fronts, err := a.fronts(ctx, chosen, next)
	if err != nil {
		return event{Event: "error", Message: err.Error()}
	}
	count := chosen.Count
	if next.Count > 0 {
		count = next.Count
	}
	a.assault = &assault{fronts: fronts}
	a.assault.open(ctx, count, time.Duration(next.SpreadMs)*time.Millisecond)
	return a.assault.count()
}

// look tells what is held by now. It may take a little more than nudgePause.
func (a *asking) look() any {
	if a.assault == nil {
		return event{Event: "error", Message: "no attack goes on"}
	}
	a.assault.nudge()
	pause(context.Background(), nudgePause)
	a.assault.nudge()
	return a.assault.count()
}

// release ends all that is held.
func (a *asking) release() any {
	if a.assault != nil {
		for _, front := range a.assault.fronts {
			eachOf(front.held, held.close)
		}
		a.assault = nil
	}
	return event{Event: "done"}
}

// fronts are the shapes of the attack that the way allows, each with its target. By funnel there is TLS only.
func (a *asking) fronts(ctx context.Context, chosen attack, next command) ([]*front, error) {
	to, err := a.overTailnet(ctx, next.Secure, httpsPort)
	if err != nil {
		return nil, err
	}
	var plain target
	switch next.Via {
	case "tailnet":
		if plain, err = a.overTailnet(ctx, next.Plain, httpPort); err != nil {
			return nil, err
		}
	case "funnel":
		if to.dial, err = fromInternet(next.FunnelAddress, next.Clients); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("via is %q: want tailnet or funnel", next.Via)
	}
	var fronts []*front
	for _, each := range chosen.shapes {
		aim := to
		if each.protocol == plainHTTP {
			aim = plain
		}
		aim.protocol = each.protocol
		if aim.dial != nil {
			fronts = append(fronts, &front{shape: each, to: aim, failures: map[string]int{}})
		}
	}
	return fronts, nil
}

// overTailnet reaches a service by its node. It waits until the network map has the node, or ctx is done.
func (a *asking) overTailnet(ctx context.Context, hostname string, port uint16) (target, error) {
	service, err := a.peers.find(ctx, hostname)
	if err != nil {
		return target{}, fmt.Errorf("finding %q in the network map: %w", hostname, err)
	}
	address := netip.AddrPortFrom(service.Addresses[0], port).String()
	return target{name: service.dnsName, dial: func(ctx context.Context) (net.Conn, error) {
		return a.node(ctx, "tcp", address)
	}}, nil
}

// fromInternet reaches the lab's relay for Funnel, as so many clients with an address each. It goes nowhere but to loopback.
func fromInternet(address string, clients int) (func(context.Context) (net.Conn, error), error) {
	relay, err := netip.ParseAddrPort(address)
	switch {
	case err != nil || !relay.Addr().Is4() || !relay.Addr().IsLoopback():
		return nil, fmt.Errorf("funnelAddress is %q: want an IPv4 address and port of loopback, as nobody else is attacked", address)
	case clients < 0 || clients > internetClients:
		return nil, fmt.Errorf("clients is %d: want at most %d", clients, internetClients)
	}
	var turn sync.Mutex
	last := 0
	return func(ctx context.Context) (net.Conn, error) {
		turn.Lock()
		last = last%max(clients, 1) + 1
		from := net.IPv4(127, 0, 1, byte(last))
		turn.Unlock()
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: from}}
		return dialer.DialContext(ctx, "tcp", address)
	}, nil
}

// open makes so many openings, in turn over the fronts and evenly over the time, until ctx is done.
func (a *assault) open(ctx context.Context, count int, spread time.Duration) {
	turns := make(chan *front)
	var openers sync.WaitGroup
	for range openingAtOnce {
		openers.Go(func() {
			for front := range turns {
				a.openOne(ctx, front)
			}
		})
	}
	began := time.Now()
	for i := range count {
		pause(ctx, time.Until(began.Add(spread*time.Duration(i)/time.Duration(count))))
		if ctx.Err() != nil {
			break
		}
		turns <- a.fronts[i%len(a.fronts)]
	}
	close(turns)
	openers.Wait()
}

func (a *assault) openOne(ctx context.Context, front *front) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	got, err := front.open(ctx, front.to)
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		front.failures[describe(err)]++
		return
	}
	front.held = append(front.held, got)
}

// count tells what became of the openings, by shapes.
func (a *assault) count() assaulted {
	result := assaulted{Event: "done", Shapes: []*tally{}}
	for _, front := range a.fronts {
		counted := &tally{Shape: front.name, Answers: map[string]int{}, Failures: front.failures}
		for _, each := range front.held {
			each.tally(counted)
		}
		for _, failed := range front.failures {
			counted.Tried += failed
		}
		result.Shapes = append(result.Shapes, counted)
	}
	return result
}

func (a *assault) nudge() {
	for _, front := range a.fronts {
		eachOf(front.held, held.nudge)
	}
}
