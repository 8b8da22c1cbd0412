package cores

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/reexec"
)

// narrowTo is in the environment of this test's own program, which then tells of itself instead of testing.
const narrowTo = "CORES_TEST_NARROW_TO"

func TestMain(m *testing.M) {
	most, ok := os.LookupEnv(narrowTo)
	if !ok {
		os.Exit(m.Run())
	}
	fmt.Println(narrowed(most))
	os.Exit(0)
}

// narrowed is what a program sees that was executed with fewer cores, and has got them back.
func narrowed(most string) (seen string, err error) {
	note, ok := reexec.Note()
	if !ok {
		runtime.LockOSThread()
		most, err := strconv.Atoi(most)
		if err != nil {
			return "", err
		}
		before, err := Narrow(most)
		if err != nil || before == "" {
			return fmt.Sprintf("had no more than %d", most), err
		}
		return "", reexec.Execute(before)
	}
	if err := Widen(note); err != nil {
		return "", err
	}
	threads, err := os.ReadDir("/proc/self/task")
	masks := map[int]bool{}
	for _, thread := range threads {
		var mask unix.CPUSet
		if id, err := strconv.Atoi(thread.Name()); err == nil && unix.SchedGetaffinity(id, &mask) == nil {
			masks[mask.Count()] = true
		}
	}
	return fmt.Sprintf("is made for %d, runs on %v, %d at a time", runtime.NumCPU(), masks, runtime.GOMAXPROCS(0)), err
}

func TestNarrowIsForTheBeginning(t *testing.T) {
	all := runtime.NumCPU()
	if all == 1 {
		t.Skip("this machine has one core")
	}
	for _, c := range []struct {
		most     int
		maxProcs string
		want     string
	}{
		{1, "", fmt.Sprintf("is made for 1, runs on map[%d:true], %[1]d at a time <nil>", all)},
		{1, "3", fmt.Sprintf("is made for 1, runs on map[%d:true], 3 at a time <nil>", all)},
		{all, "", fmt.Sprintf("had no more than %d <nil>", all)},
	} {
		program := exec.Command(os.Args[0])
		program.Env = append(os.Environ(), fmt.Sprintf("%s=%d", narrowTo, c.most), "GOMAXPROCS="+c.maxProcs)
		output, err := program.CombinedOutput()
		if got := strings.TrimSpace(string(output)); err != nil || got != c.want {
			t.Errorf("%d of %d cores, GOMAXPROCS=%s: got %q, %v, want %q", c.most, all, c.maxProcs, got, err, c.want)
		}
	}
}
