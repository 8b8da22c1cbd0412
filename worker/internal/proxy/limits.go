package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// limitBody bounds how long a body may be, and how long a client may pause in it. Neither bounds how long it takes.
func limitBody(config Config, next http.Handler) http.Handler {
	most, pause := int64(config.Spec.MaxRequestBodyBytes), milliseconds(config.Spec.BodyReadTimeoutMs)
	if most == 0 && pause == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if most > 0 {
			if r.ContentLength > most {
				config.refuseRequest(w, r, http.StatusRequestEntityTooLarge, "the body of the request is too long")
				return
			}
			r.Body = http.MaxBytesReader(w, r.Body, most)
		}
		if pause > 0 && r.ContentLength != 0 {
			body := &patientBody{ReadCloser: r.Body, connection: http.NewResponseController(w), pause: pause}
			r = r.WithContext(context.WithValue(r.Context(), patientBodyKey{}, body)) // ReverseProxy puts something around Body
			r.Body = body
		}
		next.ServeHTTP(w, r)
	})
}

// patientBody gives each read of a body its own time.
type patientBody struct {
	io.ReadCloser
	connection *http.ResponseController
	pause      time.Duration
	hasPaused  atomic.Bool // for too long
}

func (b *patientBody) Read(p []byte) (int, error) {
	if err := b.connection.SetReadDeadline(time.Now().Add(b.pause)); err != nil {
		return 0, err
	}
	n, err := b.ReadCloser.Read(p)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		b.hasPaused.Store(true)
	case err != nil:
		// The server reads on for the next request, or to learn that the client has gone: that may take as long as it likes.
		_ = b.connection.SetReadDeadline(time.Time{})
	}
	return n, err
}

type patientBodyKey struct{}

func hasPaused(r *http.Request) bool {
	body, ok := r.Context().Value(patientBodyKey{}).(*patientBody)
	return ok && body.hasPaused.Load()
}
