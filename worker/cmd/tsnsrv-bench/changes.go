package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"tailscale.com/util/clientmetric"
)

const (
	// mapResponses counts what control sent on the map stream, other than keep-alives.
	mapResponses = "controlclient_map_response_map"
	// changesInterval is how exactly the time of a change is known.
	changesInterval = 50 * time.Millisecond
)

// changes knows when the network map of this process's only node changed last.
//
// It reads tailscale's own count of map responses, as the IPN bus does not tell all: a patch of endpoints alone is applied
// without a notice (ipnlocal, mutationsAreWorthyOfTellingIPNBus). The count is of the whole process.
type changes struct {
	metric *clientmetric.Metric

	mu    sync.Mutex
	count int64
	last  time.Time
}

// followChanges begins to watch, until ctx is done.
func followChanges(ctx context.Context) (*changes, error) {
	for _, metric := range clientmetric.Metrics() {
		if metric.Name() == mapResponses {
			c := &changes{metric: metric, last: time.Now()}
			go every(ctx, changesInterval, c.look)
			return c, nil
		}
	}
	return nil, errors.New("this version of tailscale does not count its map responses as " + mapResponses)
}

func (c *changes) look() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if count := c.metric.Value(); count != c.count {
		c.count, c.last = count, time.Now()
	}
}

// read tells how many changes there were since the process began, and when the last one was.
func (c *changes) read() (count int64, last time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count, c.last
}

// quietResult answers the command quiet.
type quietResult struct {
	Event        string `json:"event"`
	Quiet        bool   `json:"quiet"`
	Changes      int64  `json:"changes"` // since the process began
	LastChangeAt int64  `json:"lastChangeAtMs"`
}

// awaitQuiet waits until nothing has changed for that long, or until ctx is done. It may be called late, as what was before
// the call counts; but only from since on, for control may tell of what has happened seconds later.
func (c *changes) awaitQuiet(ctx context.Context, since time.Time, quiet time.Duration) quietResult {
	for {
		c.look() // what has come since the last look counts, too
		count, last := c.read()
		from := last
		if since.After(from) {
			from = since
		}
		left := time.Until(from.Add(quiet))
		if left <= 0 || !pause(ctx, left) {
			return quietResult{Event: "done", Quiet: left <= 0, Changes: count, LastChangeAt: last.UnixMilli()}
		}
	}
}

// every calls f until ctx is done.
func every(ctx context.Context, interval time.Duration, f func()) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			f()
		}
	}
}

// pause waits, and says whether it could wait to the end.
func pause(ctx context.Context, duration time.Duration) bool {
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
