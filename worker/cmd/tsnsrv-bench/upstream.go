package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"

	"github.com/coder/websocket"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/cores"
)

// largeBytes is an answer that no buffer on its way holds.
const largeBytes = 256 << 20

// upstream is what the services publish: it answers each request with the same few bytes. For clients that attack it also takes
// bodies, sends a large answer, and opens WebSockets.
func upstream(ctx context.Context, c *console) error {
	address := c.flags.String("addr", "127.0.0.1:0", "`address` to listen on")
	bodyBytes := c.flags.Int("bytes", 512, "size of the body")
	ctx, err := c.parseUntilStdin(ctx)
	if err != nil {
		return err
	}
	if *bodyBytes < 0 {
		return fmt.Errorf("-bytes is %d: want 0 or more", *bodyBytes)
	}
	cores.FollowLoad() // it shares the host's cores with what is measured
	url, stop, err := serve(*address, publishing(*bodyBytes))
	if err != nil {
		return err
	}
	defer stop()
	c.lines.print(event{Event: "ready", URL: url})
	<-ctx.Done()
	return nil
}

// answer makes a handler whose every body has this size.
func answer(bodyBytes int) http.Handler {
	body := bytes.Repeat([]byte("x"), bodyBytes)
	size := []string{strconv.Itoa(bodyBytes)}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Length"] = size
		w.Header().Set("Content-Type", "text/plain")
		// A client that went away does not read it.
		_, _ = w.Write(body)
	})
}

// publishing is the upstream's handler.
func publishing(bodyBytes int) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", answer(bodyBytes))
	mux.HandleFunc(uploadPath, takeBody)
	mux.HandleFunc(largePath, answerLargely)
	mux.HandleFunc(webSocketPath, holdWebSocket)
	return mux
}

// takeBody answers when it has read the whole body.
func takeBody(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}

func answerLargely(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", strconv.Itoa(largeBytes))
	chunk := make([]byte, 64<<10)
	for range largeBytes / len(chunk) {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}

// holdWebSocket says nothing, and reads until the client ends it.
func holdWebSocket(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return // it has answered
	}
	defer conn.CloseNow()
	_, _, _ = conn.Read(r.Context())
}

// serve answers on address until stop, which also breaks what is still open; url is where.
func serve(address string, handler http.Handler) (url string, stop func(), err error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: handler}
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Always ErrServerClosed, by stop.
		_ = server.Serve(listener)
	}()
	return "http://" + listener.Addr().String(), func() {
		server.Close()
		<-done
	}, nil
}
