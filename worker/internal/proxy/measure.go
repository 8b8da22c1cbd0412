package proxy

import (
	"bufio"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// statusAborted counts requests whose client went away before there was an answer (nginx's number for it).
const statusAborted = 499

// measure counts each request and, at debug level, logs it: the path without the query, which may carry secrets. The
// duration is the time to the response header, so that a long stream counts when it begins.
func measure(config Config, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		recorder := &recorder{ResponseWriter: w, start: time.Now(), counters: config.Counters}
		defer func() {
			failure := recover()
			if failure != nil {
				recorder.abort(r.Context().Err() != nil)
			} else {
				recorder.note(http.StatusOK) // a handler that writes nothing says 200
			}
			if config.Log.Enabled(r.Context(), slog.LevelDebug) { // or the arguments are made for nothing
				config.Log.Debug("served", "method", r.Method, "path", r.URL.EscapedPath(), "status", recorder.status,
					"peer", r.RemoteAddr, "headerMs", recorder.header.Milliseconds(), "totalMs", time.Since(recorder.start).Milliseconds())
			}
			if failure != nil {
				panic(failure)
			}
		}()
		next.ServeHTTP(recorder, r)
	})
}

// recorder notes the status of a response. Flushing and the rest reach the writer below by Unwrap.
type recorder struct {
	http.ResponseWriter
	start    time.Time
	header   time.Duration // until the response header; 0 before
	status   int           // 0 before
	counters *Counters
}

func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *recorder) WriteHeader(status int) {
	if status >= 200 { // 1xx come before the real one
		r.note(status)
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	r.note(http.StatusOK)
	return r.ResponseWriter.Write(p)
}

// Hijack is how a WebSocket leaves HTTP.
func (r *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	r.note(http.StatusSwitchingProtocols)
	return http.NewResponseController(r.ResponseWriter).Hijack()
}

func (r *recorder) note(status int) {
	if r.status != 0 {
		return
	}
	r.status, r.header = status, time.Since(r.start)
	r.counters.request(status, r.header)
}

// abort notes a response that was cut off: by the client, or by an upstream that broke off in the middle.
func (r *recorder) abort(byClient bool) {
	r.note(statusAborted)
	if byClient {
		r.counters.clientAborts.Add(1)
	} else {
		r.counters.upstreamErrors.Add(1)
	}
}
