// Package timerslack has the kernel wake a process a little late where that saves waking it twice.
//
// Whenever a Go process has something to do, its system monitor looks every 20 us whether a thread hangs in a system call: for a
// service that answers a request now and then, that is most of its wake-ups. With a millisecond of slack, which is what Go's
// own timers have anyway, the kernel lets it sleep until something else is due.
package timerslack

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// marker is in the environment of a process that has been started anew, so that it is at most once.
const marker = "TSNSRV_WORKER_HAS_TIMER_SLACK"

// Adopt gives all threads of the process so much slack. A thread inherits it from the one that made it, and the system monitor
// is made before any code of ours runs: so the program is executed anew, as the same process, and Adopt does not return then.
// It returns at once when there is as much already, and with an error when the kernel refuses. Call it before anything else.
func Adopt(slack time.Duration) error {
	if os.Getenv(marker) != "" {
		return os.Unsetenv(marker)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if current() >= slack {
		return nil
	}
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slack.Nanoseconds()), 0, 0, 0); err != nil {
		return fmt.Errorf("setting the timer slack: %w", err)
	}
	path, err := os.Executable()
	if err != nil {
		return fmt.Errorf("setting the timer slack: %w", err)
	}
	return fmt.Errorf("executing %s anew: %w", path, syscall.Exec(path, os.Args, append(os.Environ(), marker+"=1")))
}

// current is the slack of the calling thread.
func current() time.Duration {
	slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil {
		return 0
	}
	return time.Duration(slack)
}
