package main

import (
	"context"
	"slices"
	"sync"
	"time"

	"tailscale.com/types/key"
)

const (
	// tryAgainAfter is the pause after a try that failed at once, as when nothing listens yet.
	tryAgainAfter = 50 * time.Millisecond
	// connectTimeout is how long a try may take to connect; on a session that works it takes milliseconds.
	connectTimeout = 300 * time.Millisecond
	// connectTimeoutEach is what it may take for each target, so that many silent ones cost at most some 300 tries a second.
	connectTimeoutEach = 3 * time.Millisecond
	// connectShare is the part of the time since the node was announced that a try may take, up to maxConnectTimeout: on a host
	// so busy that a handshake takes long, tries that are too short would never get through, each ending the handshake of the last.
	connectShare      = 20
	maxConnectTimeout = 2 * time.Second
	// answerTimeout is for the answer of a service that has accepted the connection.
	answerTimeout = 2 * time.Second
)

// waiter waits for services to answer.
type waiter struct {
	dial  dial
	peers *peers
	lines *lines
	// sessions has a try that did not get through followed by a new WireGuard handshake at once, over the relay if the peer is
	// another process than before. Without it (nil) the client is an ordinary one: it goes on with the session and the UDP
	// address that the service's last process has taken into its grave, and waits 5 s (RekeyTimeout) for the answer to a
	// handshake that came too early.
	sessions *sessions
}

// answered says that a service has answered 200 for the first time.
type answered struct {
	Event  string `json:"event"`
	Target string `json:"target"`
	At     int64  `json:"atMs"`
	Tries  int    `json:"tries"`
	// Renewals is how many handshakes were forced; with none of them an ordinary client would have had its answer as soon.
	Renewals int `json:"renewals"`
}

// awaited answers the command await.
type awaited struct {
	Event    string   `json:"event"`
	Answered int      `json:"answered"`
	Missing  []string `json:"missing"`
}

// await asks every target until it has answered once, or until ctx is done.
func (w *waiter) await(ctx context.Context, targets []string) awaited {
	result := awaited{Event: "done", Missing: []string{}}
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, target := range targets {
		all.Go(func() {
			got, err := w.awaitOne(ctx, target, max(connectTimeout, time.Duration(len(targets))*connectTimeoutEach))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				result.Missing = append(result.Missing, target)
				return
			}
			result.Answered++
			w.lines.print(got)
		})
	}
	all.Wait()
	slices.Sort(result.Missing)
	return result
}

// awaitOne tries one target; the error is that of ctx.
func (w *waiter) awaitOne(ctx context.Context, target string, patience time.Duration) (answered, error) {
	got := answered{Event: "answered", Target: target}
	var process, reached key.DiscoPublic // the target's, as the map has it, and the one to which the path was made anew
	var announced time.Time              // process, by control
	for {
		known, err := w.peers.find(ctx, target)
		if err != nil {
			return got, err
		}
		began := time.Now()
		if known.process != process || announced.IsZero() {
			process, announced = known.process, began
		}
		timeout := max(patience, min(began.Sub(announced)/connectShare, maxConnectTimeout))
		got.Tries++
		connected, err := w.try(ctx, known, timeout)
		if err == nil {
			got.At = time.Now().UnixMilli()
			return got, nil
		}
		stalled := !connected && time.Since(began) >= timeout
		if !stalled || w.sessions == nil || w.sessions.lastHandshake(known.key).After(began) {
			if !pause(ctx, tryAgainAfter) {
				return got, ctx.Err()
			}
			continue
		}
		got.Renewals++
		last := w.sessions.lastHandshake(known.key)
		isEarlier := !last.IsZero() && last.Before(announced) // with a process of before
		// forget needs ResetDevicePeer, which can hang (see graft.ExpireSession). It fails for a peer that has just gone.
		if process != reached && isEarlier && w.sessions.forget(ctx, known.key, known.id) == nil {
			reached = process
			continue
		}
		w.sessions.expire(known.key)
	}
}

// try asks once over a new connection.
func (w *waiter) try(ctx context.Context, known peer, timeout time.Duration) (connected bool, err error) {
	connecting, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	connection, err := open(connecting, w.dial, known)
	if err != nil {
		return false, err
	}
	defer connection.close()
	// Cancelling ends the wait for the answer, too.
	stop := context.AfterFunc(ctx, connection.close)
	defer stop()
	connection.limit(time.Now().Add(answerTimeout))
	_, err = connection.get()
	return true, err
}
