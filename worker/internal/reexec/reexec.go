// Package reexec executes the program anew, as the same process, so that Go's runtime begins with what the process has become:
// all threads inherit from the first one, and some of them are made before any code of ours runs.
package reexec

import (
	"fmt"
	"os"
	"syscall"
)

// variable is in the environment of a program that was executed anew, with its note. Nobody else is to see it.
const variable = "TSNSRV_WORKER_REEXEC"

// Note is what the program has left for itself. It is not ok when the program was not executed anew. Call it once.
func Note() (note string, ok bool) {
	note, ok = os.LookupEnv(variable)
	if ok {
		_ = os.Unsetenv(variable) // it fails for malformed names only
	}
	return note, ok
}

// Execute does not return, but with an error. The new program has the attributes of the calling thread, which is to be locked.
func Execute(note string) error {
	path, err := os.Executable()
	if err == nil {
		err = syscall.Exec(path, os.Args, append(os.Environ(), variable+"="+note))
	}
	return fmt.Errorf("executing the program anew: %w", err)
}
