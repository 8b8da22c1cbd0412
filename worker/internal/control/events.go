package control

import (
	"encoding/json"
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/service"
)

const (
	aliveInterval = 10 * time.Second // a reader that hears nothing for longer knows that something is wrong
	shortestEvery = 100 * time.Millisecond
	writeTimeout  = 10 * time.Second // a reader that takes nothing for so long is dropped; it may come back
)

// events streams WorkerEvents. Changes are collected per service while the reader is busy, so that it gets the latest state
// and never a backlog.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	watch := s.options.Set.Watch() // before the first state, or a change in between would be lost
	defer watch.Close()
	stream := &eventStream{server: s, encoder: json.NewEncoder(w), control: http.NewResponseController(w)}
	w.Header().Set("Content-Type", "application/x-ndjson")
	if stream.sendState() != nil {
		return
	}
	every := aliveInterval
	if wanted, err := strconv.Atoi(r.URL.Query().Get("everyMs")); err == nil {
		every = min(max(time.Duration(wanted)*time.Millisecond, shortestEvery), aliveInterval)
	}
	alive := time.NewTicker(every)
	defer alive.Stop()
	for {
		var err error
		select {
		case <-r.Context().Done():
			return
		case <-watch.Ready():
			for _, change := range watch.Take() {
				if err == nil {
					err = stream.sendChange(change)
				}
			}
		case <-alive.C:
			err = stream.sendAlive()
		case <-s.options.Set.Done():
			for _, change := range watch.Take() {
				_ = stream.sendChange(change)
			}
			return
		}
		if err != nil {
			return
		}
	}
}

// eventStream is one reader.
type eventStream struct {
	server   *Server
	encoder  *json.Encoder
	control  *http.ResponseController
	counters map[string]protocol.ServiceCounters // as last sent
	sent     time.Time                           // when, of the last line
}

func (e *eventStream) send(event protocol.WorkerEvent) error {
	if err := e.control.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	if err := e.encoder.Encode(event); err != nil {
		return err
	}
	e.sent = time.Now()
	return e.control.Flush()
}

func (e *eventStream) sendState() error {
	state := e.server.workerState()
	e.counters = countersOf(state)
	return e.send(protocol.WorkerEvent{Type: protocol.WorkerEventTypeState, State: &state})
}

func (e *eventStream) sendChange(change service.Change) error {
	name, removed := change.Name, change.Removed
	if removed > 0 {
		if err := e.send(protocol.WorkerEvent{Type: protocol.WorkerEventTypeRemoved, Name: &name, Revision: &removed}); err != nil {
			return err
		}
	}
	status, ok := e.server.options.Set.Status(name)
	if !ok {
		return nil
	}
	return e.send(protocol.WorkerEvent{Type: protocol.WorkerEventTypeService, Service: &status})
}

// sendAlive sends all states when requests were counted since the last time. If not, it says that the worker is there, but not
// more often than it has to.
func (e *eventStream) sendAlive() error {
	e.server.options.Set.LookAround()
	state := e.server.workerState()
	counters := countersOf(state)
	if maps.Equal(counters, e.counters) {
		if time.Since(e.sent) < aliveInterval*9/10 {
			return nil
		}
		return e.send(protocol.WorkerEvent{Type: protocol.WorkerEventTypeAlive})
	}
	e.counters = counters
	return e.send(protocol.WorkerEvent{Type: protocol.WorkerEventTypeState, State: &state})
}

func countersOf(state protocol.WorkerState) map[string]protocol.ServiceCounters {
	counters := make(map[string]protocol.ServiceCounters, len(state.Services))
	for _, each := range state.Services {
		counters[each.Name] = each.Counters
	}
	return counters
}
