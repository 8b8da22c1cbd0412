// Package timerslack has the kernel wake a process a little late where that saves waking it twice.
//
// Whenever a Go process has something to do, its system monitor looks every 20 us whether a thread hangs in a system call: for a
// service that answers a request now and then, that is most of its wake-ups. With a millisecond of slack, which is what Go's
// own timers have anyway, the kernel lets it sleep until something else is due.
package timerslack

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Set gives the calling thread so much slack, and with it all that it will make. It tells whether that is more than before; less
// is never set.
func Set(slack time.Duration) (more bool, err error) {
	if current() >= slack {
		return false, nil
	}
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slack.Nanoseconds()), 0, 0, 0); err != nil {
		return false, fmt.Errorf("setting the timer slack: %w", err)
	}
	return true, nil
}

// current is the slack of the calling thread.
func current() time.Duration {
	slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil {
		return 0
	}
	return time.Duration(slack)
}
