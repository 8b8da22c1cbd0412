package proxy

import (
	"bufio"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/cores"
)

// statusAborted counts requests whose client went away before there was an answer (nginx's number for it).
const statusAborted = 499

// measure gives each request its id, counts it and logs it. The duration is the time to the response header, so that a long
// stream counts when it begins.
func measure(config Config, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cores.Yield()
		identifyRequest(r)
		recorder := &recorder{ResponseWriter: w, start: time.Now(), body: bodyOf(r), counters: config.Counters,
			running: config.Counters.running.begin()}
		if r.ProtoMajor == 2 {
			recorder.sending = &sending{response: http.NewResponseController(w), limits: config.Limits, counters: config.Counters}
			defer recorder.sending.leave(recorder)
		}
		defer func() {
			failure := recover()
			recorder.expectNoEnd()
			if failure != nil {
				recorder.abort(r.Context().Err() != nil)
			} else {
				recorder.note(http.StatusOK) // a handler that writes nothing says 200
			}
			logRequest(config, r, recorder)
			if failure != nil {
				panic(failure)
			}
		}()
		next.ServeHTTP(recorder, r)
	})
}

// logRequest writes the line of the access log, or the same at debug level when there is none. The path is without the query,
// which may carry secrets, unless the operator wants it.
func logRequest(config Config, r *http.Request, recorder *recorder) {
	level, path := slog.LevelDebug, r.URL.EscapedPath()
	if spec := config.Spec.AccessLog; spec != nil {
		if recorder.isTrouble() || spec.Sampling >= 1 || rand.Float64() < spec.Sampling {
			level = slog.LevelInfo
		}
		if spec.Query && r.URL.RawQuery != "" {
			path += "?" + r.URL.RawQuery
		}
	}
	if !config.AccessLog.Enabled(r.Context(), level) { // or the arguments are made for nothing
		return
	}
	config.AccessLog.Log(r.Context(), level, "request", "requestId", requestID(r), "method", r.Method, "host", r.Host, "path", path,
		"protocol", r.Proto, "status", recorder.status, "bytes", recorder.bytes, "peer", r.RemoteAddr,
		"identity", knownCaller(r).who.String(), "headerMs", recorder.header.Milliseconds(),
		"totalMs", time.Since(recorder.start).Milliseconds())
}

// recorder notes the status of a response. Flushing and the rest reach the writer below by Unwrap.
type recorder struct {
	http.ResponseWriter
	start    time.Time
	header   time.Duration // until the response header; 0 before
	status   int           // 0 before
	bytes    int64         // of the body
	body     *requestBody  // of the request; nil without
	sending  *sending      // nil where the connection itself watches: HTTP/1
	counters *Counters
	running  *atomic.Int64 // where it counts as running; nil once it does not
}

// expectNoEnd takes the request out of those that are waited for: it has ended, or goes on until somebody ends it.
func (r *recorder) expectNoEnd() {
	if r.running != nil {
		r.running.Add(-1)
		r.running = nil
	}
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
	r.sending.begin()
	n, err := r.ResponseWriter.Write(p)
	r.sending.end()
	r.bytes += int64(n)
	return n, err
}

// FlushError is for http.ResponseController.
func (r *recorder) FlushError() error {
	r.note(http.StatusOK)
	r.sending.begin()
	defer r.sending.end()
	return http.NewResponseController(r.ResponseWriter).Flush()
}

// Hijack is how a WebSocket leaves HTTP.
func (r *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	r.note(http.StatusSwitchingProtocols)
	r.expectNoEnd()
	return http.NewResponseController(r.ResponseWriter).Hijack()
}

func (r *recorder) note(status int) {
	if r.status != 0 {
		return
	}
	r.status, r.header = status, time.Since(r.start)
	if r.body != nil {
		r.body.allowPauses(0) // from here on both sides talk, as gRPC does, or the body is not wanted
	}
	header := r.ResponseWriter.Header()
	if _, ok := header["Content-Type"]; !ok {
		header["Content-Type"] = nil // or net/http makes one up from the body, which browsers then believe
	}
	if isEventStream(header) {
		r.expectNoEnd()
	}
	r.counters.request(status, r.header)
}

// isTrouble tells that the line of the access log is wanted whatever the sampling.
func (r *recorder) isTrouble() bool {
	return r.status >= 500 || r.status == http.StatusUnauthorized || r.status == http.StatusForbidden
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
