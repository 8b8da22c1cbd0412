package proxy

import (
	"math/rand/v2"
	"net/http"
	"strconv"
)

const (
	requestIDHeader  = "X-Request-Id"
	longestRequestID = 128
)

// identifyRequest gives the request an id that upstream, auth server and log see alike. The id that a client of the tailnet
// brings is kept, if it can stand in a log line as it is; of the internet nothing is believed.
func identifyRequest(r *http.Request) {
	given := r.Header[requestIDHeader]
	if len(given) == 1 && isRequestID(given[0]) && !peerOf(r).origin.Internet {
		return
	}
	// An id has to be unique, and nobody gains by guessing it.
	id := make([]byte, 0, 26)
	id = strconv.AppendUint(id, rand.Uint64(), 36)
	id = strconv.AppendUint(id, rand.Uint64(), 36)
	r.Header[requestIDHeader] = []string{string(id)}
}

func requestID(r *http.Request) string { return r.Header.Get(requestIDHeader) }

func isRequestID(id string) bool {
	if id == "" || len(id) > longestRequestID {
		return false
	}
	for _, c := range []byte(id) {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && c != '-' && c != '_' && c != '.' && c != ':' && c != '/' && c != '+' && c != '=' {
			return false
		}
	}
	return true
}
