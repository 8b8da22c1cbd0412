package proxy

import (
	"context"
	"sync/atomic"
	"time"
)

// lookAgain is how often what is waited for is looked at, as in http.Server.Shutdown.
const lookAgain = 10 * time.Millisecond

// lastBytes is how long the answers of requests that have ended may take to be written.
const lastBytes = 100 * time.Millisecond

// running counts the requests and tcp connections of a service that are expected to end by themselves. Event streams and
// WebSockets are not.
type running struct {
	generation atomic.Int32
	counts     [2]atomic.Int64 // by generation
}

// begin counts one more; the caller subtracts it when it ends.
func (r *running) begin() *atomic.Int64 {
	count := &r.counts[r.generation.Load()]
	count.Add(1)
	return count
}

// AwaitOld waits until what runs now has ended, or ctx. What begins meanwhile is served, and not waited for.
func (c *Counters) AwaitOld(ctx context.Context) {
	old := c.running.generation.Load()
	c.running.generation.Store(1 - old)
	until(ctx, func() bool { return c.running.counts[old].Load() == 0 })
}

// awaitAll waits until none runs, or ctx.
func (r *running) awaitAll(ctx context.Context) {
	until(ctx, func() bool { return r.counts[0].Load()+r.counts[1].Load() == 0 })
}

func until(ctx context.Context, reached func() bool) {
	look := time.NewTicker(lookAgain)
	defer look.Stop()
	for !reached() {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
	}
}
