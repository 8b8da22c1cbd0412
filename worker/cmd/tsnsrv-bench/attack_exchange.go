package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// nudgeTimeout is for a few bytes, which the other side's TCP takes even where its program reads nothing.
const nudgeTimeout = time.Second

// outcome is what came of an opening, while it comes.
type outcome struct {
	mu      sync.Mutex
	answers map[string]int
	ended   bool
}

func (o *outcome) note(answer string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.answers == nil {
		o.answers = map[string]int{}
	}
	o.answers[answer]++
}

// end notes how a connection ended; only the first end counts.
func (o *outcome) end(err error) {
	o.mu.Lock()
	again := o.ended
	o.ended = true
	o.mu.Unlock()
	switch {
	case again:
	case errors.Is(err, io.EOF):
		o.note("closed")
	default:
		o.note("reset")
	}
}

func (o *outcome) hasEnded() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.ended
}

// addTo adds the answers; held and tried are the caller's.
func (o *outcome) addTo(t *tally, tried, held int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	t.Tried += tried
	t.Held += held
	for answer, count := range o.answers {
		t.Answers[answer] += count
	}
}

// exchange is one connection of HTTP/1.1, and what came of it.
type exchange struct {
	outcome
	conn  net.Conn
	reads bool // all that is answered; else the head of the first answer
}

// begin opens a connection and sends the text. A service that does not want all of it has answered, or ended the connection: the
// opening tells that, and has not failed.
func begin(ctx context.Context, to target, text string, reads bool) (held, error) {
	conn, err := to.connect(ctx)
	if err != nil {
		return nil, err
	}
	e := &exchange{conn: conn, reads: reads}
	go e.listen()
	deadline, _ := ctx.Deadline()
	_ = conn.SetWriteDeadline(deadline)
	_, _ = io.WriteString(conn, text)
	_ = conn.SetWriteDeadline(time.Time{})
	return e, nil
}

// listen notes the answers until the connection ends.
func (e *exchange) listen() {
	reader := bufio.NewReader(e.conn)
	for {
		response, err := http.ReadResponse(reader, nil)
		if err != nil {
			e.end(err)
			return
		}
		e.note(strconv.Itoa(response.StatusCode))
		if !e.reads {
			return
		}
		if response.StatusCode == http.StatusSwitchingProtocols {
			_, err = io.Copy(io.Discard, reader)
		} else {
			_, err = io.Copy(io.Discard, response.Body)
		}
		if err != nil {
			e.end(err)
			return
		}
	}
}

func (e *exchange) nudge() {
	if e.reads {
		return
	}
	_ = e.conn.SetWriteDeadline(time.Now().Add(nudgeTimeout))
	if _, err := io.WriteString(e.conn, "\n"); err != nil {
		e.end(err)
	}
}

func (e *exchange) tally(t *tally) {
	held := 1
	if e.hasEnded() {
		held = 0
	}
	e.addTo(t, 1, held)
}

func (e *exchange) close() { e.conn.Close() }
