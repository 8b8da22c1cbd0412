package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/cores"
)

// upstream is what the services publish: it answers each request with the same few bytes.
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
	url, stop, err := serve(*address, answer(*bodyBytes))
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
