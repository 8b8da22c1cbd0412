package cores

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// Narrow binds the calling thread to so many of its cores, and tells which it had, for Widen; it leaves it alone, and tells
// nothing, when these are no more.
//
// A program that is executed then takes the host for that small (runtime.NumCPU), and goes on to do so after Widen. WireGuard
// starts three goroutines a core for each node, most of which never run.
func Narrow(most int) (before string, err error) {
	var had unix.CPUSet
	if err := unix.SchedGetaffinity(0, &had); err != nil {
		return "", fmt.Errorf("asking for the cores of this process: %w", err)
	}
	if had.Count() <= most {
		return "", nil
	}
	var cores []int
	for core := 0; len(cores) < had.Count(); core++ {
		if had.IsSet(core) {
			cores = append(cores, core)
		}
	}
	var few unix.CPUSet
	for _, core := range cores[:most] {
		few.Set(core)
	}
	if err := unix.SchedSetaffinity(0, &few); err != nil {
		return "", fmt.Errorf("binding this process to few cores: %w", err)
	}
	note, err := json.Marshal(cores)
	return string(note), err
}

// Widen lets all threads of the process run on the cores that Narrow told of, and on as many at a time as Go chooses for them by
// itself. If it told nothing, nothing changes.
func Widen(before string) error {
	if before == "" {
		return nil
	}
	var cores []int
	if err := json.Unmarshal([]byte(before), &cores); err != nil {
		return fmt.Errorf("which cores this process had: %w", err)
	}
	var set unix.CPUSet
	for _, core := range cores {
		set.Set(core)
	}
	// Threads that are made meanwhile may have been made by one that was still bound: it is over when there is no new one.
	for done := map[int]bool{}; ; {
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("listing the threads of this process: %w", err)
		}
		before := len(done)
		for _, thread := range threads {
			id, err := strconv.Atoi(thread.Name())
			if err != nil || done[id] {
				continue
			}
			if err := unix.SchedSetaffinity(id, &set); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("letting thread %d use all cores: %w", id, err)
			}
			done[id] = true
		}
		if len(done) == before {
			break
		}
	}
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.SetDefaultGOMAXPROCS()
	}
	return nil
}
