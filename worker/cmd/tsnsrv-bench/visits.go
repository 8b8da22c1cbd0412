package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// runVisits asks the targets as an ordinary client does: one of Go's net/http, which asks whenever a request is due, whatever
// became of the last one. It shows what users see. Its cost is too high for loads that are to saturate a service.
func runVisits(ctx context.Context, dial dial, targets []peer, spec loadSpec, lines *lines) loaded {
	visitors := make([]*visitor, len(targets))
	for i, target := range targets {
		visitors[i] = newVisitor(dial, target, spec.connections)
		defer visitors[i].client.CloseIdleConnections()
	}
	eachOf(visitors, func(v *visitor) { _ = v.visit(ctx) }) // the warm-up; one that fails now fails again when it counts
	start := time.Now()
	end := start.Add(spec.duration)
	limited, cancel := context.WithDeadline(ctx, end.Add(loadGrace))
	defer cancel()
	schedules := makeSchedules(len(targets), spec, start, end)
	for i, v := range visitors {
		v.schedule = schedules[i]
	}
	lines.print(begun{Event: "begun", At: start.UnixMilli()})
	eachOf(visitors, func(v *visitor) { v.run(limited, end) })
	askers := make([]*asker, len(visitors))
	for i, v := range visitors {
		askers[i] = &v.asker
	}
	return summarise(askers, spec.duration)
}

// visitor is one user of one target, and what came of the visits.
type visitor struct {
	asker
	client *http.Client
	url    string

	mu sync.Mutex // of what came of them
}

// newVisitor keeps so many connections; with 0, each request has its own.
func newVisitor(dial dial, target peer, connections int) *visitor {
	transport := &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, target) },
		DisableKeepAlives: connections == 0, MaxIdleConnsPerHost: connections,
	}
	return &visitor{client: &http.Client{Transport: transport, Timeout: requestTimeout}, url: "http://" + target.Name + "/"}
}

func (v *visitor) run(ctx context.Context, end time.Time) {
	var visits sync.WaitGroup
	defer visits.Wait()
	for at, ok := v.schedule(); ok; at, ok = v.schedule() {
		if wait := time.Until(at); wait > 0 && !pause(ctx, wait) {
			return
		}
		visits.Go(func() {
			began := time.Now()
			err := v.visit(ctx)
			now := time.Now()
			v.mu.Lock()
			defer v.mu.Unlock()
			if err != nil {
				v.failed(err)
				return
			}
			v.answered = append(v.answered, now.Sub(began))
			if now.Before(end) {
				v.inTime++
			}
		})
	}
}

func (v *visitor) visit(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, v.url, nil)
	if err != nil {
		return err
	}
	response, err := v.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	return nil
}
