package main

import (
	"context"
	"errors"
	"time"
)

const (
	// requestTimeout is the patience with one request. As it is looked at once in deadlineStep, it may be that much less.
	requestTimeout = 10 * time.Second
	deadlineStep   = time.Second
	// redialAfter keeps a target that refuses connections from becoming a busy loop.
	redialAfter = 20 * time.Millisecond
)

var errNotAsked = errors.New("no free connection in time")

// asker is one keep-alive connection of a load, or one after the other, and what came of it.
type asker struct {
	dial     dial
	target   peer
	fresh    bool // a new connection for each request
	schedule schedule

	connection *connection
	release    func() bool // connection is no longer closed when the load is cancelled
	limitedAt  time.Time

	answered latencies
	inTime   int // answered before the end of the load
	failures map[string]int
}

// run sends what the schedule tells it to. Answers are waited for until giveUp; what could not even be sent by then has
// failed, too. Cancelling ctx ends it at once.
func (a *asker) run(ctx context.Context, end, giveUp time.Time) {
	defer a.drop()
	for at, ok := a.schedule(); ok; at, ok = a.schedule() {
		if wait := time.Until(at); wait > 0 {
			if !pause(ctx, wait) {
				return
			}
			at = time.Now() // that the timer was late is not the service's fault
		}
		if time.Now().After(giveUp) {
			a.failed(errNotAsked)
			continue
		}
		err := a.ask(ctx, giveUp)
		now := time.Now()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			a.failed(err)
		default:
			// From the time at which it was to be sent: what waited for a free connection has waited for the service.
			a.answered = append(a.answered, now.Sub(at))
			if now.Before(end) {
				a.inTime++
			}
		}
	}
}

// ask sends one request, over a new connection if need be.
func (a *asker) ask(ctx context.Context, giveUp time.Time) error {
	now := time.Now()
	limit := now.Add(requestTimeout)
	if limit.After(giveUp) {
		limit = giveUp
	}
	if a.connection == nil {
		connecting, cancel := context.WithDeadline(ctx, limit)
		defer cancel()
		connection, err := open(connecting, a.dial, a.target)
		if err != nil {
			pause(ctx, redialAfter)
			return err
		}
		a.connection, a.release, a.limitedAt = connection, context.AfterFunc(ctx, connection.close), time.Time{}
	}
	// A timer for each request would be a good part of what it costs.
	if now.Sub(a.limitedAt) >= deadlineStep {
		a.connection.limit(limit)
		a.limitedAt = now
	}
	reusable, err := a.connection.get()
	if !reusable || a.fresh {
		a.drop()
	}
	if errors.As(err, &staleError{}) {
		return a.ask(ctx, giveUp) // a new connection cannot be stale
	}
	return err
}

func (a *asker) drop() {
	if a.connection != nil {
		a.release()
		a.connection.close()
		a.connection = nil
	}
}

func (a *asker) failed(err error) {
	if a.failures == nil {
		a.failures = map[string]int{}
	}
	a.failures[describe(err)]++
}
