package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	// openWindow is what no answer fills.
	openWindow = 1 << 30
	// frameBytes is the longest frame that every server takes.
	frameBytes = 16 << 10
	hpackBytes = 4 << 10
)

// ending is how much of a request is sent.
type ending int

const (
	complete ending = iota
	bodyStalls
	headerNeverEnds
)

// streams is one connection of HTTP/2, and what came of it and of its streams.
type streams struct {
	outcome
	name          string
	conn          net.Conn
	readsHeadOnly atomic.Bool // of the first answer, and nothing behind it

	writing sync.Mutex
	framer  *http2.Framer
	block   bytes.Buffer
	encoder *hpack.Encoder
	asked   uint32 // streams
	mute    bool   // in the middle of a header, where no other frame may stand

	over map[uint32]bool // streams that have ended; guarded by outcome.mu
}

// beginStreams opens a connection whose streams have this window, and has ask begin some. As in begin, what the service does
// not want is no failure.
func beginStreams(ctx context.Context, to target, window uint32, ask func(*streams) error) (held, error) {
	conn, err := to.connect(ctx)
	if err != nil {
		return nil, err
	}
	s := &streams{name: to.name, conn: conn, framer: http2.NewFramer(conn, conn), over: map[uint32]bool{}}
	s.framer.ReadMetaHeaders = hpack.NewDecoder(hpackBytes, nil)
	s.encoder = hpack.NewEncoder(&s.block)
	deadline, _ := ctx.Deadline()
	_ = conn.SetWriteDeadline(deadline)
	defer conn.SetWriteDeadline(time.Time{})
	// Where a write fails the connection has ended, which is told by listen.
	_, _ = io.WriteString(conn, http2.ClientPreface)
	_ = s.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window})
	_ = s.framer.WriteWindowUpdate(0, openWindow)
	go s.listen()
	_ = ask(s)
	return s, nil
}

// ask begins a stream.
func (s *streams) ask(until ending, method, path string, fields ...hpack.HeaderField) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.block.Reset()
	for _, field := range append([]hpack.HeaderField{
		{Name: ":method", Value: method}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: s.name}, {Name: ":path", Value: path},
	}, fields...) {
		if err := s.encoder.WriteField(field); err != nil {
			return err
		}
	}
	s.asked++
	s.mute = until == headerNeverEnds
	id := s.asked*2 - 1
	first := s.block.Next(frameBytes)
	err := s.framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: id, BlockFragment: first, EndStream: until == complete, EndHeaders: until != headerNeverEnds && s.block.Len() == 0,
	})
	for err == nil && s.block.Len() > 0 {
		next := s.block.Next(frameBytes)
		err = s.framer.WriteContinuation(id, until != headerNeverEnds && s.block.Len() == 0, next)
	}
	if err == nil && until == bodyStalls {
		err = s.framer.WriteData(id, false, []byte("x"))
	}
	return err
}

// listen notes what comes, and answers what a client must, until the connection ends.
func (s *streams) listen() {
	for {
		frame, err := s.framer.ReadFrame()
		if err != nil {
			s.end(err)
			return
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				s.write(s.framer.WriteSettingsAck)
			}
		case *http2.PingFrame:
			if !frame.IsAck() {
				s.write(func() error { return s.framer.WritePing(true, frame.Data) })
			}
		case *http2.MetaHeadersFrame:
			s.note(frame.PseudoValue("status"))
			s.streamEnded(frame.StreamID, frame.StreamEnded(), "")
			if s.readsHeadOnly.Load() {
				return
			}
		case *http2.DataFrame:
			s.streamEnded(frame.StreamID, frame.StreamEnded(), "")
		case *http2.RSTStreamFrame:
			s.streamEnded(frame.StreamID, true, "RST_STREAM "+frame.ErrCode.String())
		case *http2.GoAwayFrame:
			s.note("GOAWAY " + frame.ErrCode.String())
		}
	}
}

// streamEnded notes the end of a stream, and why if that is not in an answer.
func (s *streams) streamEnded(id uint32, ended bool, why string) {
	s.mu.Lock()
	already := s.over[id]
	s.over[id] = already || ended
	s.mu.Unlock()
	if ended && !already && why != "" {
		s.note(why)
	}
}

func (s *streams) write(frame func() error) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.mute {
		return nil
	}
	return frame()
}

func (s *streams) nudge() {
	if !s.readsHeadOnly.Load() {
		return
	}
	_ = s.conn.SetWriteDeadline(time.Now().Add(nudgeTimeout))
	if err := s.write(func() error { return s.framer.WritePing(false, [8]byte{}) }); err != nil {
		s.end(err)
	}
}

// tally counts streams, or the connection if there are none.
func (s *streams) tally(t *tally) {
	s.writing.Lock()
	tried := max(int(s.asked), 1)
	s.writing.Unlock()
	held := tried
	s.mu.Lock()
	for _, over := range s.over {
		if over {
			held--
		}
	}
	if s.ended {
		held = 0
	}
	s.mu.Unlock()
	s.addTo(t, tried, held)
}

func (s *streams) close() { s.conn.Close() }
