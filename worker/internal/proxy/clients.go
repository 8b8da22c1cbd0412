package proxy

import (
	"net/http"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/limit"
)

// limitClients turns away what is more than the limits of the service allow at once.
func limitClients(config Config, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client := clientOf(r)
		switch reached := config.Limits.Begin(client); reached {
		case limit.None:
			defer config.Limits.End(client)
			next.ServeHTTP(w, r)
		case limit.Requests:
			turnAway(w, r, http.StatusServiceUnavailable, "the service is busy")
		default:
			turnAway(w, r, http.StatusTooManyRequests, "too many requests from your address")
		}
	})
}

func clientOf(r *http.Request) limit.Client {
	if connection := peerOf(r).connection; connection != nil {
		return connection.client
	}
	return limit.Client{}
}

func turnAway(w http.ResponseWriter, r *http.Request, status int, why string) {
	w.Header().Set("Retry-After", "1")
	refuse(w, r, status, why)
}
