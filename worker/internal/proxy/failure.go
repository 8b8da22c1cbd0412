package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/limit"
)

// failureHandler answers for an upstream that did not. The client learns that it failed and a number to ask with; where
// the upstream is and what it said stay in the log.
func failureHandler(config Config) func(http.ResponseWriter, *http.Request, error) {
	return func(w http.ResponseWriter, r *http.Request, err error) {
		var tooLong *http.MaxBytesError
		body := bodyOf(r)
		switch {
		case errors.As(err, &tooLong):
			config.refuseRequest(w, r, http.StatusRequestEntityTooLarge, "the request body is too large")
			return
		case body != nil && body.hasPaused.Load(): // the server takes a read that timed out for a client that is gone
			config.refuseRequest(w, r, http.StatusRequestTimeout, "the request body did not arrive in time")
			return
		case errors.Is(err, errOvertaken):
			config.audit(r, knownCaller(r), http.StatusForbidden, err.Error())
			refuse(w, r, http.StatusForbidden, "access denied")
			return
		case errors.Is(err, limit.ErrFiles):
			config.Limits.Reach(limit.OpenFiles)
			config.turnAway(w, r, limit.OpenFiles, http.StatusServiceUnavailable, "the service is busy; try again in a moment")
			return
		case r.Context().Err() != nil:
			panic(http.ErrAbortHandler) // the client is gone: nobody to answer, and no fault of the upstream
		}
		config.Counters.upstreamErrors.Add(1)
		facts := []any{"upstream", config.Spec.Upstream, "path", r.URL.EscapedPath(), "requestId", requestID(r), "error", err}
		words := inWords(err)
		if scheme := wrongScheme(config, r, err); scheme != nil {
			words, facts = scheme, append(facts, "remedy", scheme)
		}
		config.Backends.Upstream.Bad(words)
		config.Log.Warn("the upstream did not answer", facts...)
		status, text := http.StatusBadGateway, "did not answer"
		if isTimeout(err) {
			status, text = http.StatusGatewayTimeout, "did not answer in time"
		}
		refuse(w, r, status, fmt.Sprintf("the service behind %s %s", config.Service, text))
	}
}

// refuse answers in place of the upstream: one line of text, with the id that the log has too.
func refuse(w http.ResponseWriter, r *http.Request, status int, why string) {
	id := requestID(r)
	w.Header().Set(requestIDHeader, id)
	http.Error(w, fmt.Sprintf("%d %s: %s (request %s)", status, http.StatusText(status), why, id), status)
}

func isTimeout(err error) bool {
	var network net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &network) && network.Timeout()
}
