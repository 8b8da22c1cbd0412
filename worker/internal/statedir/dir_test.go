package statedir

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/custody"
)

var discard = slog.New(slog.DiscardHandler)

func open(t *testing.T, path string) *Dir {
	t.Helper()
	dir, err := Open(path, "worker-1 42")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	return dir
}

func TestOpenCreatesPrivateDirectories(t *testing.T) {
	parent := filepath.Join(t.TempDir(), "state")
	open(t, filepath.Join(parent, "web"))
	for _, path := range []string{parent, filepath.Join(parent, "web")} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o700 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
	}
}

func TestSecondHolderIsRefused(t *testing.T) {
	path := t.TempDir()
	first := open(t, path)
	_, err := Open(path, "worker-2 43")
	var locked *custody.LockedError
	if !errors.As(err, &locked) {
		t.Fatalf("got %v, want a LockedError", err)
	}
	if locked.Holder != "worker-1 42" || !strings.Contains(err.Error(), "worker-1 42") {
		t.Errorf("holder is %q in %q", locked.Holder, err)
	}
	first.Close()
	open(t, path)
}

func TestAwaitGetsTheDirectoryWhenItsHolderLetsGo(t *testing.T) {
	path := t.TempDir()
	first := open(t, path)
	got := make(chan custody.Holding)
	go func() {
		dir, err := Keeper{}.Await(t.Context(), path, "worker-2 43")
		if err != nil {
			t.Error(err)
		}
		got <- dir
	}()
	select {
	case <-got:
		t.Fatal("two hold it")
	case <-time.After(4 * retryInterval):
	}
	first.Close()
	if dir := <-got; dir != nil {
		dir.Close()
	}
}

func TestAwaitTellsTheHolderWhenItIsGivenUp(t *testing.T) {
	path := t.TempDir()
	open(t, path)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Keeper{}.Await(ctx, path, "worker-2 43")
	var locked *custody.LockedError
	if !errors.As(err, &locked) || locked.Holder != "worker-1 42" {
		t.Errorf("got %v", err)
	}
}

func TestUnusable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Run("a file in its place", func(t *testing.T) { wantUnusable(t, file, "not a directory") })
	t.Run("a file in the place of a parent", func(t *testing.T) { wantUnusable(t, filepath.Join(file, "web"), "not a directory") })
	t.Run("no permission", func(t *testing.T) {
		if os.Geteuid() == 0 {
			t.Skip("root may write anywhere")
		}
		parent := t.TempDir()
		if err := os.Chmod(parent, 0o500); err != nil {
			t.Fatal(err)
		}
		wantUnusable(t, filepath.Join(parent, "web"), "permission denied")
	})
	t.Run("full", func(t *testing.T) { wantUnusable(t, filledMount(t, ""), "no space left on device") })
	t.Run("read-only", func(t *testing.T) { wantUnusable(t, filledMount(t, "ro"), "read-only file system") })
}

func wantUnusable(t *testing.T, path, text string) {
	t.Helper()
	_, err := Open(path, "worker-1 42")
	var unusable *custody.UnusableError
	if !errors.As(err, &unusable) {
		t.Fatalf("got %v, want an UnusableError", err)
	}
	for _, part := range []string{path, text} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in %q", part, err)
		}
	}
}

// filledMount gives a tmpfs of one page with no room left, or a read-only one.
func filledMount(t *testing.T, option string) string {
	t.Helper()
	path := t.TempDir()
	var flags uintptr
	if option == "ro" {
		flags = unix.MS_RDONLY
	}
	if err := unix.Mount("tmpfs", path, "tmpfs", flags, "size=4k"); err != nil {
		t.Skipf("needs root to mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(path, 0) })
	if option == "" {
		if err := os.WriteFile(filepath.Join(path, "filler"), make([]byte, 4096), 0o600); err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
	return path
}

func TestUDPPortIsChosenOnce(t *testing.T) {
	path := t.TempDir()
	dir := open(t, path)
	first, err := dir.UDPPort(discard)
	if err != nil {
		t.Fatal(err)
	}
	low, high := ephemeralRange()
	if int(first) >= low && int(first) <= high {
		t.Errorf("%d is in the ephemeral range %d-%d", first, low, high)
	}
	dir.Close()
	again, err := open(t, path).UDPPort(discard)
	if err != nil || again != first {
		t.Errorf("second time: %d, %v; first time: %d", again, err, first)
	}
}

func TestUDPPortNeverTwiceInOneProcess(t *testing.T) {
	first, second := open(t, t.TempDir()), open(t, t.TempDir())
	port, err := first.UDPPort(discard)
	if err != nil {
		t.Fatal(err)
	}
	// A state directory that was copied brings the same port.
	text, err := os.ReadFile(filepath.Join(first.Path(), portName))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(second.Path(), portName), text, 0o600); err != nil {
		t.Fatal(err)
	}
	other, err := second.UDPPort(discard)
	if err != nil || other == port {
		t.Errorf("got %d, %v beside %d", other, err, port)
	}
}

func TestDamagedPortFileIsMovedAside(t *testing.T) {
	for _, text := range []string{"", "0", "70000", "12\x0034", "not a port"} {
		path := t.TempDir()
		if err := os.WriteFile(filepath.Join(path, portName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if port, err := open(t, path).UDPPort(discard); err != nil || port == 0 {
			t.Errorf("%q: got %d, %v", text, port, err)
		}
		aside, err := filepath.Glob(filepath.Join(path, portName+".damaged-*"))
		if err != nil || len(aside) != 1 {
			t.Errorf("%q: moved aside: %v, %v", text, aside, err)
		}
	}
}
