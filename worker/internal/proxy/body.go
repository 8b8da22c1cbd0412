package proxy

import (
	"context"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// What is left of a body after the answer is read for a while (nginx calls it lingering close). A client that is still sending
// may look at the answer only when it is done, and TCP throws the answer away when the connection is closed before.
const (
	lingerPause = time.Second // without a byte
	lingerTime  = 5 * time.Second
	lingerBytes = 16 << 20
)

// finishBodies sends each answer when the handler is done, whether or not the client has sent its whole body, and bounds how
// long the rest is waited for. net/http does the first after the second, and waits without an end.
func finishBodies(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength == 0 {
			next.ServeHTTP(w, r)
			return
		}
		body := &requestBody{ReadCloser: r.Body, connection: http.NewResponseController(w), awaitsContinue: r.Header.Get("Expect") != ""}
		_ = body.connection.EnableFullDuplex() // for HTTP/1; HTTP/2 is, and says that it does not know the question
		// A copy: net/http looks at the Body of its own request to see whether the client waits for 100 Continue.
		request := r.WithContext(context.WithValue(r.Context(), requestBodyKey{}, body))
		request.Body = body
		next.ServeHTTP(w, request)
		if r.ProtoMajor == 2 && w.Header().Get("Grpc-Status") != "" {
			// The head is the whole answer (Trailers-Only in gRPC's protocol over HTTP/2), so it has to end the stream, which
			// net/http does with an answer that nobody has flushed. Clients take the status of no other.
			body.isClosed.Store(true)
			return
		}
		if !body.finish() && r.ProtoMajor == 1 {
			peerOf(r).connection.heardAll.Store(true)
		}
	})
}

// limitBody bounds how long a body may be, and how long a client may pause in it. Neither bounds how long it takes.
func limitBody(config Config, next http.Handler) http.Handler {
	most, pause := int64(config.Spec.MaxRequestBodyBytes), milliseconds(config.Spec.BodyReadTimeoutMs)
	if most == 0 && pause == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if most > 0 && r.ContentLength > most {
			config.refuseRequest(w, r, http.StatusRequestEntityTooLarge, "the request body is too large")
			return
		}
		if body := bodyOf(r); body != nil {
			body.allowPauses(pause)
			if most > 0 {
				limited := *r
				limited.Body = http.MaxBytesReader(w, r.Body, most)
				r = &limited
			}
		}
		next.ServeHTTP(w, r)
	})
}

type requestBodyKey struct{}

// bodyOf is the body of a request, whatever has been put around it since; nil when there is none.
func bodyOf(r *http.Request) *requestBody {
	body, _ := r.Context().Value(requestBodyKey{}).(*requestBody)
	return body
}

// requestBody gives each read of a body its own time.
type requestBody struct {
	io.ReadCloser  // the server's
	connection     *http.ResponseController
	awaitsContinue bool // the client sends nothing before it is asked to

	mu       sync.Mutex
	pause    time.Duration // longest; 0 for any
	extended time.Time     // when the time was set last

	isBegun   atomic.Bool
	isOver    atomic.Bool // all of it was read
	isClosed  atomic.Bool // by who read it
	hasPaused atomic.Bool // for too long
}

// Read ends with an error after too long a pause.
func (b *requestBody) Read(p []byte) (int, error) {
	if b.isClosed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	b.isBegun.Store(true)
	b.extend()
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == io.EOF:
		b.isOver.Store(true)
		b.allowPauses(0) // the server reads on, to learn that the client has gone: that may take as long as it likes
	case err != nil && isTimeout(err):
		b.hasPaused.Store(true)
	}
	return n, err
}

// Close is for who reads the body. The rest of it is for finish: that of the server would be waited for without an end.
func (b *requestBody) Close() error {
	b.isClosed.Store(true)
	return nil
}

// allowPauses sets how long the client may pause from now on; 0 for any time.
func (b *requestBody) allowPauses(pause time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pause = pause
	if pause == 0 && !b.extended.IsZero() {
		b.extended = time.Time{}
		_ = b.connection.SetReadDeadline(time.Time{})
	}
}

// extend gives the next read its time, anew when a good part of it has passed: that is dear beside a small read.
func (b *requestBody) extend() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now := time.Now(); b.pause > 0 && now.Sub(b.extended) >= b.pause/8 {
		b.extended = now
		_ = b.connection.SetReadDeadline(now.Add(b.pause))
	}
}

// finish sends the answer, and reads what is left of the body as far as the bounds allow. It tells whether that was all. Who
// has read so far may still be waiting in Read; the first deadline ends that, too.
func (b *requestBody) finish() bool {
	if b.isOver.Load() {
		return true
	}
	b.isClosed.Store(true)
	if b.awaitsContinue && !b.isBegun.Load() {
		// To read would ask for the body. The server announces the end of the connection, and tries one read.
		_ = b.connection.SetReadDeadline(time.Now().Add(lingerPause))
		return false
	}
	_ = b.connection.Flush()
	if b.hasPaused.Load() {
		return false
	}
	buffer := buffers.Get()
	defer buffers.Put(buffer)
	end := time.Now().Add(lingerTime)
	for left := lingerBytes; left > 0 && time.Now().Before(end); {
		_ = b.connection.SetReadDeadline(earlier(end, time.Now().Add(lingerPause)))
		n, err := b.ReadCloser.Read(buffer)
		left -= n
		if err == io.EOF {
			_ = b.connection.SetReadDeadline(time.Time{})
			return true
		}
		if err != nil {
			return false
		}
	}
	return false
}
