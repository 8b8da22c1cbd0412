package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/coder/websocket"
)

const maxDownloadBytes = 16 << 30

// addProbes adds what tests ask of a service that a proxy stands before:
//
//	/whoami               JSON: name, method, url, host, headers, remote
//	/events?n=&intervalMs=  server-sent events 1..n; n=0 for as long as the client listens
//	/stream?n=&intervalMs=  the same as lines of plain text
//	/ws                   WebSocket that sends each message back
//	/slow?ms=             answers after a while
//	/status/{code}        answers with this status
//	/upload               JSON: bytes and sha256 of the request's body
//	/hash?bytes=          that many bytes, their sha256 in the header X-Content-Sha256
func addProbes(mux *http.ServeMux, name string) {
	mux.HandleFunc("/whoami", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, map[string]any{
			"name": name, "method": r.Method, "url": r.URL.String(), "host": r.Host, "headers": r.Header, "remote": r.RemoteAddr,
		})
	})
	mux.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Cache-Control", "no-cache")
		tick(w, r, func(i int) string { return fmt.Sprintf("id: %d\ndata: %s %d\n\n", i, name, i) })
	})
	mux.HandleFunc("/stream", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		tick(w, r, func(i int) string { return fmt.Sprintf("%s %d\n", name, i) })
	})
	mux.HandleFunc("/ws", echoWebSocket)
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		if pause(r.Context(), time.Duration(number(r, "ms", 1000))*time.Millisecond) {
			writeJSON(w, map[string]string{"name": name})
		}
	})
	mux.HandleFunc("/status/{code}", func(w http.ResponseWriter, r *http.Request) {
		code, err := strconv.Atoi(r.PathValue("code"))
		if err != nil || code < 200 || code > 599 {
			http.Error(w, "want /status/200 to /status/599", http.StatusBadRequest)
			return
		}
		w.WriteHeader(code)
		fmt.Fprintf(w, "%s answers %d %s\n", name, code, http.StatusText(code))
	})
	mux.HandleFunc("/upload", func(w http.ResponseWriter, r *http.Request) {
		sum := sha256.New()
		size, err := io.Copy(sum, r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		writeJSON(w, map[string]any{"name": name, "bytes": size, "sha256": hex.EncodeToString(sum.Sum(nil))})
	})
	mux.HandleFunc("/hash", download)
}

// download generates its bytes twice, so that the hash can go before them and nothing is kept in memory.
func download(w http.ResponseWriter, r *http.Request) {
	size := int64(number(r, "bytes", 1<<20))
	if size < 0 || size > maxDownloadBytes {
		http.Error(w, fmt.Sprintf("want 0 to %d bytes", int64(maxDownloadBytes)), http.StatusBadRequest)
		return
	}
	content := func() io.Reader { return io.LimitReader(rand.NewChaCha8([32]byte{}), size) }
	sum := sha256.New()
	// Neither the generator nor the hash can fail, and a client may leave at any time.
	_, _ = io.Copy(sum, content())
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	w.Header().Set("X-Content-Sha256", hex.EncodeToString(sum.Sum(nil)))
	_, _ = io.Copy(w, content())
}

func echoWebSocket(w http.ResponseWriter, r *http.Request) {
	// Any origin: behind a proxy that sets Host, the browser's Origin is another name.
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return
	}
	defer conn.CloseNow()
	for {
		kind, message, err := conn.Read(r.Context())
		if err != nil {
			return
		}
		if err := conn.Write(r.Context(), kind, message); err != nil {
			return
		}
	}
}

// tick writes and flushes text(1), text(2) ... as the query's n (default 5, 0 for ever) and intervalMs (default 100) say.
func tick(w http.ResponseWriter, r *http.Request, text func(i int) string) {
	count, interval := number(r, "n", 5), time.Duration(number(r, "intervalMs", 100))*time.Millisecond
	flusher := http.NewResponseController(w)
	for i := 1; count == 0 || i <= count; i++ {
		if i > 1 && !pause(r.Context(), interval) {
			return
		}
		if _, err := io.WriteString(w, text(i)); err != nil {
			return
		}
		if err := flusher.Flush(); err != nil {
			return
		}
	}
}

// pause waits, and says whether the client is still there.
func pause(ctx context.Context, duration time.Duration) bool {
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// number reads a query parameter; what is no number counts as not given.
func number(r *http.Request, name string, otherwise int) int {
	value, err := strconv.Atoi(r.URL.Query().Get(name))
	if err != nil {
		return otherwise
	}
	return value
}

func writeJSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	// A client that went away does not read it.
	_ = json.NewEncoder(w).Encode(value)
}
