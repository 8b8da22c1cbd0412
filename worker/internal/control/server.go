// Package control is the worker's side of the protocol in shared/protocol.ts: HTTP and JSON on a Unix socket, whose file
// permissions are the only authentication.
package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/service"
)

const (
	maxBodyBytes      = 1 << 20
	readHeaderTimeout = 10 * time.Second

	// DefaultDrain holds where a request names no drainMs.
	DefaultDrain = 10 * time.Second
)

// Options is what the server speaks for.
type Options struct {
	Hello   protocol.Hello
	Set     *service.Set
	Metrics http.Handler // Prometheus text
	Log     *slog.Logger
}

// Server answers the supervisor.
type Server struct {
	options Options
	http    *http.Server

	mu       sync.Mutex
	open     map[net.Conn]struct{}
	lastSeen time.Time // when the last connection opened or closed
}

// New makes the server; Serve starts it.
func New(options Options) *Server {
	s := &Server{options: options, open: map[net.Conn]struct{}{}, lastSeen: time.Now()}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/hello", s.hello)
	mux.HandleFunc("GET /v1/state", s.state)
	mux.HandleFunc("GET /v1/events", s.events)
	mux.HandleFunc("PUT /v1/services/{name}", s.putService)
	mux.HandleFunc("DELETE /v1/services/{name}", s.deleteService)
	mux.HandleFunc("POST /v1/shutdown", s.shutdown)
	mux.Handle("GET /metrics", options.Metrics)
	mux.HandleFunc("/", s.unknown)
	s.http = &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: readHeaderTimeout,
		ConnState:         s.connState,
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	return s
}

// Serve answers until Close; it owns the listener.
func (s *Server) Serve(listener net.Listener) error {
	if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving the control socket: %w", err)
	}
	return nil
}

// Close lets answers that are under way end until ctx is done.
func (s *Server) Close(ctx context.Context) {
	_ = s.http.Shutdown(ctx)
	_ = s.http.Close()
}

func (s *Server) hello(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, s.options.Hello)
}

func (s *Server) state(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, s.workerState())
}

func (s *Server) workerState() protocol.WorkerState {
	services, revision := s.options.Set.Statuses()
	return protocol.WorkerState{Hello: s.options.Hello, Revision: revision, Services: services}
}

func (s *Server) putService(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	if err != nil {
		refuse(w, http.StatusBadRequest, "InvalidSpec", fmt.Sprintf("service %s: reading the body: %v", name, err))
		return
	}
	spec, err := protocol.Decode[protocol.ServiceSpec](body)
	if err != nil {
		refuse(w, http.StatusBadRequest, "InvalidSpec", fmt.Sprintf("service %s: %v", name, err))
		return
	}
	if spec.Name != name {
		refuse(w, http.StatusBadRequest, "InvalidSpec", fmt.Sprintf("service %s: the body is for service %s", name, spec.Name))
		return
	}
	status, err := s.options.Set.Put(spec)
	switch {
	case errors.Is(err, service.ErrLeaving):
		refuse(w, http.StatusConflict, "Draining", fmt.Sprintf("service %s: %v", name, err))
	case err != nil:
		refuse(w, http.StatusConflict, "ShuttingDown", fmt.Sprintf("service %s: %v", name, err))
	default:
		answer(w, http.StatusOK, status)
	}
}

func (s *Server) deleteService(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	drain, err := drainOf(r)
	switch {
	case err != nil:
		refuse(w, http.StatusBadRequest, "InvalidRequest", err.Error())
	case !s.options.Set.Delete(name, drain):
		refuse(w, http.StatusNotFound, "UnknownService", fmt.Sprintf("service %s: this worker has no such service", name))
	default:
		w.WriteHeader(http.StatusAccepted)
	}
}

func (s *Server) shutdown(w http.ResponseWriter, r *http.Request) {
	drain, err := drainOf(r)
	if err != nil {
		refuse(w, http.StatusBadRequest, "InvalidRequest", err.Error())
		return
	}
	s.options.Log.Info("shutting down at the supervisor's request", "drainMs", drain.Milliseconds())
	s.options.Set.Shutdown(drain)
	w.WriteHeader(http.StatusAccepted)
}

func (s *Server) unknown(w http.ResponseWriter, r *http.Request) {
	refuse(w, http.StatusNotFound, "UnknownRequest", fmt.Sprintf("%s %s is not part of protocol version %d",
		r.Method, r.URL.Path, s.options.Hello.ProtocolVersion))
}

// drainOf reads ?drainMs=N.
func drainOf(r *http.Request) (time.Duration, error) {
	text := r.URL.Query().Get("drainMs")
	if text == "" {
		return DefaultDrain, nil
	}
	milliseconds, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("drainMs: want milliseconds, got %q", text)
	}
	return time.Duration(milliseconds) * time.Millisecond, nil
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// A caller that went away does not read it.
	_ = json.NewEncoder(w).Encode(body)
}

func refuse(w http.ResponseWriter, status int, reason, message string) {
	answer(w, status, protocol.ErrorReply{Reason: reason, Message: message})
}
