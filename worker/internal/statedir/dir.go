// Package statedir owns the directory of one service: node key, certificates, lock and UDP port. Whoever holds the lock of
// the directory runs the node; there is no other proof of the right to do so.
package statedir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const lockName = "lock"

// LockedError says that another process, or another service of this one, runs a node from the directory.
type LockedError struct {
	Path   string
	Holder string // "<worker id> <pid>", as the holder wrote it; may be empty
}

func (e *LockedError) Error() string {
	holder := e.Holder
	if holder == "" {
		holder = "another process"
	}
	return fmt.Sprintf("state directory %s is in use by %s; stop that one, or give this service a stateDir of its own", e.Path, holder)
}

// UnusableError says why a directory cannot hold a node's state.
type UnusableError struct {
	Path string
	Err  error
}

func (e *UnusableError) Error() string {
	return fmt.Sprintf("state directory %s cannot be used: %s", e.Path, describe(e.Err))
}

func (e *UnusableError) Unwrap() error { return e.Err }

// describe puts the errno first: the operator needs "no space left on device" and what to do, not the call that met it.
func describe(err error) string {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return err.Error()
	}
	remedy := ""
	switch errno {
	case unix.ENOTDIR, unix.EEXIST:
		remedy = "; a file is in the place of a directory, move it away"
	case unix.ENOSPC, unix.EDQUOT:
		remedy = "; free some space"
	case unix.EACCES, unix.EPERM:
		remedy = "; let the user of the worker write there"
	case unix.EROFS:
		remedy = "; mount it writable, or set stateDir elsewhere"
	}
	return errno.Error() + remedy
}

// Dir is a locked state directory.
type Dir struct {
	path string
	lock *os.File
	port uint16
}

// Open creates the directory (and its parents, all 0700) where it is missing, and takes its lock without waiting. holder is
// written into the lock file for whoever is refused. Errors are *LockedError or *UnusableError.
func Open(path, holder string) (*Dir, error) {
	unusable := func(err error) (*Dir, error) { return nil, &UnusableError{Path: path, Err: err} }
	if err := os.MkdirAll(path, 0o700); err != nil {
		return unusable(err)
	}
	// O_NOFOLLOW: a link planted in a shared parent must not make us write elsewhere.
	lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return unusable(err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			text, _ := io.ReadAll(io.LimitReader(lock, 200))
			return nil, &LockedError{Path: path, Holder: strings.TrimSpace(string(text))}
		}
		return unusable(err)
	}
	// Writing the holder also finds a full or read-only disk now, and not in the middle of a login.
	if err := rewrite(lock, holder+"\n"); err != nil {
		lock.Close()
		return unusable(err)
	}
	return &Dir{path: path, lock: lock}, nil
}

// retryInterval is how soon a directory that was released is noticed. It adds to the time in which nobody serves.
const retryInterval = 5 * time.Millisecond

// Await is Open for a directory that another holder is about to release: until ctx is done it waits for that.
func Await(ctx context.Context, path, holder string) (*Dir, error) {
	for {
		dir, err := Open(path, holder)
		var locked *LockedError
		if !errors.As(err, &locked) {
			return dir, err
		}
		select {
		case <-time.After(retryInterval):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// Path is where the directory is.
func (d *Dir) Path() string { return d.path }

// Close releases the lock and the UDP port. The lock file stays: unlinking it would let two holders lock two files of one
// name.
func (d *Dir) Close() error {
	ports.release(d.port)
	_ = rewrite(d.lock, "")
	return d.lock.Close()
}

func rewrite(file *os.File, text string) error {
	if err := file.Truncate(0); err != nil {
		return err
	}
	if _, err := file.WriteAt([]byte(text), 0); err != nil {
		return err
	}
	return file.Sync()
}
