package proxy

import (
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// An upstream may close a connection at the moment that a request is sent on it: most do after a while without one. A request
// of which nothing has been written net/http sends again, on another connection, if it can begin its body anew. If something
// has been written, the upstream may have acted on it; so only a request that may come twice is sent again, once.

// mayComeTwice are the methods that mean the same when they come twice. Not those of which the second answer is likely to be an
// error, such as MKCOL and MOVE.
var mayComeTwice = []string{
	http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete, "PROPFIND", "REPORT", "SEARCH",
}

// mostReplayed is how much of a body is kept for that, until more has been read.
const mostReplayed = 32 << 10

// replay lets the body of a request begin anew.
func replay(r *http.Request) {
	if r.Body == nil || r.Body == http.NoBody {
		return
	}
	body := &replayed{body: r.Body}
	r.Body = &attempt{replayed: body}
	r.GetBody = func() (io.ReadCloser, error) {
		body.mu.Lock()
		defer body.mu.Unlock()
		if body.read > len(body.kept) {
			return nil, errSent
		}
		return &attempt{replayed: body}, nil
	}
}

var errSent = errors.New("the upstream closed the connection when it had part of the body")

// replayed is the body of a request that may be sent more than once. The first attempt may still be reading when the second
// begins.
type replayed struct {
	mu   sync.Mutex
	body io.ReadCloser
	kept []byte // what has been read of it, unless that is too much
	read int
	err  error // how it ended
}

// attempt is one reading of it.
type attempt struct {
	*replayed
	at int
}

func (a *attempt) Read(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.at < a.read {
		if a.read > len(a.kept) {
			return 0, errSent
		}
		n := copy(p, a.kept[a.at:])
		a.at += n
		return n, nil
	}
	if a.err != nil {
		return 0, a.err
	}
	n, err := a.body.Read(p)
	if a.read += n; a.read > mostReplayed {
		a.kept = nil
	} else {
		a.kept = append(a.kept, p[:n]...)
	}
	a.at, a.err = a.read, err
	return n, err
}

// Close leaves the body to its owner: another attempt may follow.
func (a *attempt) Close() error { return nil }

// keepAlive is how long the upstream says that it keeps a connection without requests; 0 when it does not.
func keepAlive(header http.Header) time.Duration {
	for _, value := range header["Keep-Alive"] {
		for parameter := range strings.SplitSeq(value, ",") {
			name, text, _ := strings.Cut(strings.TrimSpace(parameter), "=")
			if seconds, err := strconv.Atoi(text); err == nil && seconds > 0 && strings.EqualFold(name, "timeout") {
				return time.Duration(seconds) * time.Second
			}
		}
	}
	return 0
}

// RoundTrip implements http.RoundTripper. An upstream that says how long it keeps a connection has it let go of before.
func (u *Upstream) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := u.pool.RoundTrip(request)
	if err != nil && brokeOff(err) && request.Context().Err() == nil && slices.Contains(mayComeTwice, request.Method) {
		if again := rewound(request); again != nil {
			u.pool.Close() // what else is idle may be closed as well: the next one is a new connection
			response, err = u.pool.RoundTrip(again)
		}
	}
	if err == nil {
		if kept := keepAlive(response.Header); kept > 0 {
			u.pool.KeepIdle(kept - min(time.Second, kept/2))
		}
	}
	return response, err
}

// brokeOff tells that a connection that had been made ended before there was a response.
func brokeOff(err error) bool {
	var network *net.OpError
	if errors.As(err, &network) && network.Op == "dial" {
		return false
	}
	return errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) ||
		strings.Contains(err.Error(), "server closed idle connection") // of net/http, which does not export it
}

// rewound is the request from its beginning; nil if that is gone.
func rewound(request *http.Request) *http.Request {
	again := request.WithContext(request.Context())
	if request.Body != nil && request.Body != http.NoBody {
		if request.GetBody == nil {
			return nil
		}
		body, err := request.GetBody()
		if err != nil {
			return nil
		}
		again.Body = body
	}
	return again
}
