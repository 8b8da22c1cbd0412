package limit

import (
	"context"
	"errors"
	"net"
	"testing"
)

func pipe(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	far.Close()
	return near, nil
}

func TestFilesAreSharedFairly(t *testing.T) {
	files := &Files{most: workerFiles + 2*(serviceFiles+20)}
	greedy, other := files.Join(), files.Join()
	var open []net.Conn
	for {
		conn, err := greedy.Dialer(pipe)(t.Context(), "", "")
		if err != nil {
			if !errors.Is(err, ErrFiles) {
				t.Error(err)
			}
			break
		}
		open = append(open, conn)
	}
	if len(open) != 20 {
		t.Errorf("one of two services opens %d of 40", len(open))
	}
	if _, err := other.Dialer(pipe)(t.Context(), "", ""); err != nil {
		t.Errorf("the other one: %v", err)
	}
	open[0].Close()
	open[0].Close() // counts once
	for i, want := range []bool{true, false} {
		if _, err := greedy.Dialer(pipe)(t.Context(), "", ""); (err == nil) != want {
			t.Errorf("connection %d after one was closed: %v", i+1, err)
		}
	}
	other.Leave()
	if _, err := greedy.Dialer(pipe)(t.Context(), "", ""); err != nil {
		t.Errorf("alone in the worker: %v", err)
	}
}

func TestFailedDialTakesNothing(t *testing.T) {
	files := &Files{most: 0} // below what the worker itself needs
	share := files.Join()
	fail := func(context.Context, string, string) (net.Conn, error) { return nil, net.ErrClosed }
	for range 10 * fewestFiles {
		if _, err := share.Dialer(fail)(t.Context(), "", ""); !errors.Is(err, net.ErrClosed) {
			t.Fatal(err)
		}
	}
	if _, err := share.Dialer(pipe)(t.Context(), "", ""); err != nil {
		t.Error(err)
	}
}
