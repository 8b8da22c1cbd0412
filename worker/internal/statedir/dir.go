// Package statedir keeps identities in directories of this host: node key, certificates, UDP port, and a lock that the kernel
// releases with the process.
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

	"github.com/arsfeld/tsnsrv-sup/worker/internal/custody"
)

const lockName = "lock"

// describe puts the errno first: the operator needs "no space left on device" and what to do, not the call that met it.
func describe(err error) error {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return err
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
	return fmt.Errorf("%w%s", errno, remedy)
}

func unusable(path string, err error) error {
	return &custody.UnusableError{Path: path, Err: describe(err)}
}

// Dir is a locked state directory.
type Dir struct {
	path string
	lock *os.File
	port uint16
}

// Open creates the directory (and its parents, all 0700) where it is missing, and takes its lock without waiting. holder is
// written into the lock file for whoever is refused. Errors are *custody.LockedError or
// *custody.UnusableError.
func Open(path, holder string) (*Dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, unusable(path, err)
	}
	// O_NOFOLLOW: a link planted in a shared parent must not make us write elsewhere.
	lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, unusable(path, err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			text, _ := io.ReadAll(io.LimitReader(lock, 200))
			return nil, &custody.LockedError{Path: path, Holder: strings.TrimSpace(string(text))}
		}
		return nil, unusable(path, err)
	}
	// Writing the holder also finds a full or read-only disk now, and not in the middle of a login.
	if err := rewrite(lock, holder+"\n"); err != nil {
		lock.Close()
		return nil, unusable(path, err)
	}
	return &Dir{path: path, lock: lock}, nil
}

// retryInterval is how soon a directory that was released is noticed. It adds to the time in which nobody serves.
const retryInterval = 5 * time.Millisecond

// Keeper is the custody.Keeper of directories; their paths are the names.
type Keeper struct{}

// Await implements custody.Keeper.
func (Keeper) Await(ctx context.Context, path, holder string) (custody.Holding, error) {
	for {
		dir, err := Open(path, holder)
		var locked *custody.LockedError
		if err == nil {
			return dir, nil
		}
		if !errors.As(err, &locked) {
			return nil, err
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
