package proxy

import (
	"net/http"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/limit"
)

// limitClients turns away what is more than the limits of the service allow at once.
func limitClients(config Config, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client := clientOf(r)
		reached := config.Limits.Begin(client)
		if reached == limit.None {
			defer config.Limits.End(client)
			next.ServeHTTP(w, r)
			return
		}
		if reached == limit.Requests { // of all clients together
			config.turnAway(w, r, reached, http.StatusServiceUnavailable, "the service is busy; try again in a moment")
			return
		}
		config.turnAway(w, r, reached, http.StatusTooManyRequests, "too many requests from your address; try again in a moment")
	})
}

func clientOf(r *http.Request) limit.Client {
	if connection := peerOf(r).connection; connection != nil {
		return connection.client
	}
	return limit.Client{}
}

func (c Config) turnAway(w http.ResponseWriter, r *http.Request, reached limit.Limit, status int, why string) {
	c.Log.Info("a request was turned away", "requestId", requestID(r), "peer", r.RemoteAddr, "status", status, "limit", reached)
	w.Header().Set("Retry-After", "1")
	refuse(w, r, status, why)
}
