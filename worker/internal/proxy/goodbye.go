package proxy

import (
	"context"
	"time"
)

const (
	// goodbye is how long clients may take to hear that their connection has ended, and to end their side. Most take
	// milliseconds; some look only when they use the connection again, and everybody waits for them meanwhile.
	goodbye = 50 * time.Millisecond

	// What was written longer ago than recent has come, or nobody is there any more. Of newer bytes, some may be lost or still
	// in the send buffer, which takes megabytes; they are sent as long as the client says something every now and then: after
	// silence TCP waits 200 ms to send again, then 400.
	recent         = 3 * time.Second
	longestSilence = time.Second
)

// part has connections closed, from now on, so that their clients hear of it, and get the last bytes before. The node ends
// next, and with it what has not come: who did not hear of the end would ask on, on a connection that nobody knows, and who
// did not get its answer would wait for it. When ctx is done, what does not come at once is given up.
func (c *connections) part(ctx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hurry = ctx.Done()
}

// part ends our side and waits until the client has all of it, and has ended its own side or has sent what it will not get an
// answer to. It does not wait for those who may be gone.
func (c *connection) part(hurry <-chan struct{}) {
	defer c.end()
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	answered := make(chan struct{})
	go func() {
		_, _ = c.Conn.Read(make([]byte, 1))
		close(answered)
	}()
	silence := goodbye
	if time.Since(time.Unix(0, c.wroteAt.Load())) < recent {
		silence = longestSilence
	}
	wire, hurried := c.wire, false
	heard, enough := wire.heard(), time.Now().Add(silence)
	leave := time.After(goodbye)
	look := time.NewTicker(lookAgain)
	defer look.Stop()
	for !wire.arrived() && time.Now().Before(enough) {
		select {
		case <-hurry:
			// Even then the end has to leave this host: who only listens would never hear of it.
			hurry, hurried, enough = nil, true, earlier(enough, time.Now().Add(goodbye))
		case <-look.C:
		}
		if now := wire.heard(); now != heard && !hurried {
			heard, enough = now, time.Now().Add(silence)
		}
	}
	if hurried {
		return
	}
	select {
	case <-hurry:
	case <-answered:
	case <-leave:
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
