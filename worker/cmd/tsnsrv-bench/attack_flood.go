package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// floodPause is between two requests or connections of one opening: how large a flood is, the number of openings says.
const floodPause = 100 * time.Millisecond

// flood repeats a request or a connection, and never holds one for long.
type flood struct {
	outcome
	tries   atomic.Int64
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// startFlood repeats once, which returns what was answered, until the flood is closed.
func startFlood(once func(ctx context.Context) (answer string, err error)) *flood {
	ctx, cancel := context.WithCancel(context.Background())
	f := &flood{cancel: cancel}
	f.running.Go(func() {
		for ctx.Err() == nil {
			limited, release := context.WithTimeout(ctx, requestTimeout)
			answer, err := once(limited)
			release()
			if ctx.Err() != nil {
				return
			}
			f.tries.Add(1)
			if err != nil {
				answer = describe(err)
			}
			f.note(answer)
			pause(ctx, floodPause)
		}
	})
	return f
}

func (f *flood) nudge()         {}
func (f *flood) tally(t *tally) { f.addTo(t, int(f.tries.Load()), 0) }

func (f *flood) close() {
	f.cancel()
	f.running.Wait()
}

func connectAndClose(_ context.Context, to target) (held, error) {
	return startFlood(func(ctx context.Context) (string, error) {
		conn, err := to.connect(ctx)
		if err != nil {
			return "", err
		}
		conn.Close()
		return "connected", nil
	}), nil
}

func deniedRequests(_ context.Context, to target) (held, error) {
	connect := func(ctx context.Context, _, _ string) (net.Conn, error) { return to.connect(ctx) }
	client := &http.Client{Transport: &http.Transport{
		DialContext: connect, DialTLSContext: connect, ForceAttemptHTTP2: to.protocol == http2TLS, MaxIdleConnsPerHost: 1,
	}}
	url := "https://" + to.name + deniedPath + "/" + strings.Repeat("d", longPath)
	if to.protocol == plainHTTP {
		url = strings.Replace(url, "https", "http", 1)
	}
	return &requests{client: client, flood: startFlood(func(ctx context.Context) (string, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return "", err
		}
		response, err := client.Do(request)
		if err != nil {
			return "", err
		}
		defer response.Body.Close()
		_, err = io.Copy(io.Discard, response.Body)
		return strconv.Itoa(response.StatusCode), err
	})}, nil
}

// requests is a flood of requests over a client's own connections.
type requests struct {
	*flood
	client *http.Client
}

func (r *requests) close() {
	r.flood.close()
	r.client.CloseIdleConnections()
}
