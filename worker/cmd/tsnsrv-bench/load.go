package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// loadGrace is how long after the end of a load answers are waited for.
const loadGrace = 3 * time.Second

// loadSpec is what the command load asks for.
type loadSpec struct {
	mode          string // "rate", "closed" or "visits"
	connections   int    // rate: to each target. closed: in all. visits: kept to each target; 0 for a new one for each request
	perSecondEach float64
	fresh         bool // a new connection for each request
	duration      time.Duration
}

// begun says that the warm-up is over, and what comes now counts.
type begun struct {
	Event string `json:"event"`
	At    int64  `json:"atMs"`
}

// loaded answers the command load. Latencies are of the requests that were answered with 200.
type loaded struct {
	Event     string         `json:"event"`
	Total     int            `json:"total"`
	Failed    int            `json:"failed"`
	PerSecond float64        `json:"perSecond"` // answered with 200 before the end
	P50Ms     float64        `json:"p50Ms"`
	P90Ms     float64        `json:"p90Ms"`
	P99Ms     float64        `json:"p99Ms"`
	SlowestMs float64        `json:"slowestMs"`
	Errors    map[string]int `json:"errors"`
}

// schedule tells when the next request is to be sent; ok is false when there is none any more. Askers that share a schedule
// share its requests.
type schedule func() (at time.Time, ok bool)

// openLoop is a schedule of so many requests a second from start to end, whatever becomes of them.
func openLoop(start, end time.Time, perSecond float64) schedule {
	var next atomic.Int64
	return func() (time.Time, bool) {
		at := start.Add(time.Duration(float64(next.Add(1)-1) / perSecond * float64(time.Second)))
		return at, at.Before(end)
	}
}

// closedLoop is a schedule that asks again as soon as there is an answer.
func closedLoop(end time.Time) schedule {
	return func() (time.Time, bool) {
		now := time.Now()
		return now, now.Before(end)
	}
}

// check refuses what cannot be run.
func (s loadSpec) check() error {
	switch {
	case s.mode != "rate" && s.mode != "closed" && s.mode != "visits":
		return fmt.Errorf("mode is %q: want rate, closed or visits", s.mode)
	case s.mode != "closed" && s.perSecondEach <= 0:
		return errors.New("perSecondEach must be above 0")
	case s.connections < 1 && s.mode != "visits" || s.duration <= 0:
		return errors.New("connections and durationMs must be above 0")
	}
	return nil
}

// runLoad asks the targets as the spec says. Every connection asks once before, which does not count.
func runLoad(ctx context.Context, dial dial, targets []peer, spec loadSpec, lines *lines) (loaded, error) {
	if err := spec.check(); err != nil {
		return loaded{}, err
	}
	if len(targets) == 0 {
		return loaded{}, errors.New("there are no targets")
	}
	if spec.mode == "visits" {
		return runVisits(ctx, dial, targets, spec, lines), nil
	}
	askers := makeAskers(dial, targets, spec)
	// One that fails now fails again when it counts.
	eachOf(askers, func(a *asker) { _ = a.ask(ctx, time.Now().Add(requestTimeout)) })

	start := time.Now()
	end := start.Add(spec.duration)
	schedules := makeSchedules(len(targets), spec, start, end)
	for i, a := range askers {
		a.schedule = schedules[i*len(schedules)/len(askers)]
	}
	lines.print(begun{Event: "begun", At: start.UnixMilli()})
	eachOf(askers, func(a *asker) { a.run(ctx, end, end.Add(loadGrace)) })
	return summarise(askers, spec.duration), nil
}

// makeAskers spreads the connections evenly over the targets, in their order.
func makeAskers(dial dial, targets []peer, spec loadSpec) []*asker {
	count := spec.connections
	if spec.mode == "rate" {
		count *= len(targets)
	}
	askers := make([]*asker, count)
	for i := range askers {
		askers[i] = &asker{dial: dial, target: targets[i*len(targets)/count], fresh: spec.fresh}
	}
	return askers
}

// makeSchedules makes one for all targets in closed mode, and else one for each.
func makeSchedules(targets int, spec loadSpec, start, end time.Time) []schedule {
	if spec.mode == "closed" {
		return []schedule{closedLoop(end)}
	}
	schedules := make([]schedule, targets)
	interval := time.Duration(float64(time.Second) / spec.perSecondEach)
	for i := range schedules {
		// Not all targets at the same moment.
		offset := interval * time.Duration(i) / time.Duration(targets)
		schedules[i] = openLoop(start.Add(offset), end, spec.perSecondEach)
	}
	return schedules
}

func eachOf[T any](those []T, do func(T)) {
	var all sync.WaitGroup
	for _, one := range those {
		all.Go(func() { do(one) })
	}
	all.Wait()
}

func summarise(askers []*asker, duration time.Duration) loaded {
	result := loaded{Event: "done", Errors: map[string]int{}}
	var parts []latencies
	inTime := 0
	for _, a := range askers {
		parts = append(parts, a.answered)
		inTime += a.inTime
		for what, count := range a.failures {
			result.Errors[what] += count
			result.Failed += count
		}
	}
	all := merge(parts)
	result.Total = len(all) + result.Failed
	result.PerSecond = float64(inTime) / duration.Seconds()
	result.P50Ms, result.P90Ms, result.P99Ms = all.percentile(50), all.percentile(90), all.percentile(99)
	result.SlowestMs = all.percentile(100)
	return result
}

// describe is an error without what differs from one request to the next, so that equal ones can be counted.
func describe(err error) string {
	var network *net.OpError
	if request := (*url.Error)(nil); errors.As(err, &request) {
		err = request.Err
	}
	switch {
	case isTimeout(err):
		return "no answer in time"
	case errors.As(err, &network):
		return network.Op + ": " + network.Err.Error()
	default:
		return err.Error()
	}
}
