package main

import (
	"errors"
	"runtime"
	"time"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/cores"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/reexec"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/timerslack"
)

const (
	slack = time.Millisecond
	// mostCores is for how many cores WireGuard keeps goroutines ready in each node: what these can encrypt is more than the rest
	// of a node can do.
	mostCores = 4
)

// adoptAttributes gives the process what all its threads inherit. If anything changes, the program is executed anew, and
// adoptAttributes does not return before that. With an error the process is as good, and costs more. Call it before anything else.
func adoptAttributes(off measures) error {
	if before, ok := reexec.Note(); ok {
		return cores.Widen(before)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var slower bool
	var before string
	var slackErr, coresErr error
	if !off.has(timerSlack) {
		slower, slackErr = timerslack.Set(slack)
	}
	if !off.has(coreCount) {
		before, coresErr = cores.Narrow(mostCores)
	}
	var err error
	if slower || before != "" {
		err = errors.Join(reexec.Execute(before), cores.Widen(before))
	}
	return errors.Join(slackErr, coresErr, err)
}
