package proxy

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

func TestHealth(t *testing.T) {
	refused := errors.New("refused")
	for _, c := range []struct {
		what  string
		steps func(*Health)
		told  string // + unhealthy, - well again
	}{
		{"all is well", func(h *Health) { h.Good(); h.Good() }, ""},
		{"the first answer is a failure", func(h *Health) { h.Bad(refused) }, "+"},
		{"more failures are the same trouble", func(h *Health) { h.Bad(refused); h.Bad(refused); h.Bad(refused) }, "+"},
		{"the first good answer ends it", func(h *Health) { h.Bad(refused); h.Good() }, "+-"},
		{"one page of many fails", func(h *Health) {
			h.Good()
			h.Bad(refused)
			h.Good()
			h.Bad(refused)
			h.Bad(refused)
			h.Good()
		}, ""},
		{"three in a row", func(h *Health) { h.Good(); h.Bad(refused); h.Bad(refused); h.Bad(refused) }, "+"},
		{"a failure long after the last good answer", func(h *Health) { h.Good(); time.Sleep(wellFor); h.Bad(refused) }, "+"},
	} {
		synctest.Test(t, func(t *testing.T) {
			told := ""
			h := NewHealth(func(err error) {
				if err == nil {
					told += "-"
					return
				}
				told += "+"
				if !strings.HasPrefix(err.Error(), "refused, since 2000-01-01T00:0") {
					t.Errorf("%s: %v", c.what, err)
				}
			})
			if _, known := h.Up(); known {
				t.Errorf("%s: known before it was asked", c.what)
			}
			c.steps(h)
			if told != c.told {
				t.Errorf("%s: told %q, want %q", c.what, told, c.told)
			}
			if up, known := h.Up(); !known || up == strings.HasSuffix(c.told, "+") {
				t.Errorf("%s: up %v, known %v", c.what, up, known)
			}
		})
	}
}

// noBackends are those of which nobody wants to know.
func noBackends() Backends {
	ignore := func(error) {}
	return Backends{Upstream: NewHealth(ignore), Auth: NewHealth(ignore)}
}

// What is wrong with the servers that a service depends on is told, counted, and over with the first good answer.
func TestTroubleOfServersIsTold(t *testing.T) {
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	t.Cleanup(server.Close)
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()

	spec := protocol.ProxySpec{Upstream: server.URL}
	f := serve(t, spec, nil)
	told := func(part, want string) {
		t.Helper()
		got, _ := f.trouble.Load(part)
		if err, _ := got.(error); want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%s: told %v, want %q", part, got, want)
		}
	}
	ask := func(want int) {
		t.Helper()
		if response, _ := f.send(http.MethodGet, "/", nil); response.StatusCode != want {
			t.Errorf("%d, want %d", response.StatusCode, want)
		}
	}
	ask(http.StatusOK)
	told("upstream", "")
	status = http.StatusInternalServerError
	for range failuresInARow {
		ask(http.StatusInternalServerError)
	}
	told("upstream", "it answers 500, since ")
	status = http.StatusNotFound // an answer like any other
	ask(http.StatusNotFound)
	told("upstream", "")
	if got := f.counters.Snapshot().Errors; got != failuresInARow {
		t.Errorf("%d errors are counted", got)
	}

	spec.Upstream = "http://" + dead.Addr().String()
	f.change(spec)
	for range failuresInARow {
		ask(http.StatusBadGateway)
	}
	told("upstream", dead.Addr().String()+" refuses connections: nothing listens there, since ")

	spec.Upstream = server.URL
	spec.ForwardAuth = &protocol.ForwardAuthSpec{URL: "http://" + dead.Addr().String(), TimeoutMs: 5000, CopyHeaders: []string{}}
	f.change(spec)
	ask(http.StatusBadGateway)
	told("auth server", "dial tcp "+dead.Addr().String())
	status = http.StatusUnauthorized
	spec.ForwardAuth = &protocol.ForwardAuthSpec{URL: server.URL, TimeoutMs: 5000, CopyHeaders: []string{}}
	f.change(spec)
	ask(http.StatusUnauthorized) // a denial is a good answer of the auth server
	told("auth server", "")
	if got := f.counters.Snapshot().Errors; got != 2*failuresInARow+1 {
		t.Errorf("%d errors are counted", got)
	}
}
