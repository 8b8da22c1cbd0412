package timerslack

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/reexec"
)

// askedOf is set in the environment of this test's own program, which then tells of itself instead of testing.
const askedOf = "TIMERSLACK_TEST_SLACK"

func TestMain(m *testing.M) {
	asked, ok := os.LookupEnv(askedOf)
	if !ok {
		os.Exit(m.Run())
	}
	if _, ok := reexec.Note(); !ok {
		runtime.LockOSThread()
		slack, err := time.ParseDuration(asked)
		if err != nil {
			panic(err)
		}
		more, err := Set(slack)
		if err != nil {
			panic(err)
		}
		if more {
			panic(reexec.Execute(""))
		}
	}
	other := make(chan time.Duration)
	go func() {
		runtime.LockOSThread() // and never unlocked: a thread of its own
		other <- current()
	}()
	_, marked := reexec.Note()
	fmt.Println(os.Getpid(), current(), <-other, marked, strings.Join(os.Args[1:], " "))
	os.Exit(0)
}

func TestAllThreadsHaveIt(t *testing.T) {
	for _, c := range []struct{ asked, want string }{
		{"1ms", "1ms 1ms"},
		{"1ns", fmt.Sprint(current(), current())}, // what every process has is more already
	} {
		program := exec.Command(os.Args[0], "-one", "two words")
		program.Env = append(os.Environ(), askedOf+"="+c.asked)
		output, err := program.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, output)
		}
		want := fmt.Sprintf("%d %s false -one two words", program.Process.Pid, c.want)
		if got := strings.TrimSpace(string(output)); got != want {
			t.Errorf("asked for %s: got %q, want %q", c.asked, got, want)
		}
	}
}
