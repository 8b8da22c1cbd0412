package proxy

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
)

// failureHandler answers for an upstream that did not. The client learns that it failed and a number to ask with; where
// the upstream is and what it said stay in the log.
func failureHandler(config Config) func(http.ResponseWriter, *http.Request, error) {
	return func(w http.ResponseWriter, r *http.Request, err error) {
		if r.Context().Err() != nil {
			panic(http.ErrAbortHandler) // the client is gone: nobody to answer, and no fault of the upstream
		}
		id := rand.Text()
		config.Counters.upstreamErrors.Add(1)
		config.Log.Warn("the upstream did not answer", "upstream", config.Spec.Upstream, "path", r.URL.EscapedPath(),
			"requestId", id, "error", err)
		status, text := http.StatusBadGateway, "did not answer"
		if isTimeout(err) {
			status, text = http.StatusGatewayTimeout, "did not answer in time"
		}
		w.Header().Set("X-Request-Id", id)
		http.Error(w, fmt.Sprintf("%d %s: the service behind %s %s", status, http.StatusText(status), config.Service, text), status)
	}
}

func isTimeout(err error) bool {
	var network net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &network) && network.Timeout()
}
