package proxy

import (
	"net/http"
	"time"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/limit"
)

// sending ends a stream of HTTP/2 whose client takes in nothing of what waits for it. Its connection may be busy with other
// streams, and so does not notice. A nil sending watches nothing.
type sending struct {
	response *http.ResponseController
	limits   *limit.Limits
	counters *Counters
	timer    *time.Timer
}

// begin gives a write its time. end follows when it is done.
func (s *sending) begin() {
	if s == nil {
		return
	}
	timeout := s.limits.SendTimeout()
	switch {
	case timeout == 0:
	case s.timer == nil:
		s.timer = time.AfterFunc(timeout, s.cut)
	default:
		s.timer.Reset(timeout)
	}
}

func (s *sending) end() {
	if s != nil && s.timer != nil {
		s.timer.Stop()
	}
}

func (s *sending) cut() {
	s.counters.stalled.Add(1)
	_ = s.response.SetWriteDeadline(time.Now())
}

// leave gives what the server still has to send when the handler has returned its time.
func (s *sending) leave(sent *recorder) {
	s.end()
	if timeout := s.limits.SendTimeout(); timeout > 0 && sent.bytes > 0 {
		_ = s.response.SetWriteDeadline(time.Now().Add(timeout))
	}
}
