package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"
	"tailscale.com/atomicfile"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

const (
	socketName  = "worker.sock"
	helloName   = "worker.json"
	metricsName = "metrics"
)

// runDir is where a supervisor finds this worker.
type runDir struct {
	path     string
	listener net.Listener
}

// openRunDir makes the directory ours and listens in it. worker.json is there before the socket, so that even a worker that
// does not answer can be told from a stranger with its pid.
func openRunDir(path string, hello protocol.Hello) (*runDir, error) {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("run directory: %w", err)
	}
	if err := os.Chmod(path, 0o700); err != nil {
		return nil, fmt.Errorf("run directory: %w", err)
	}
	socket := filepath.Join(path, socketName)
	if other, err := net.Dial("unix", socket); err == nil {
		other.Close()
		return nil, fmt.Errorf("run directory %s: another worker answers there; give each its own -dir", path)
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("run directory: removing a dead socket: %w", err)
	}
	text, err := json.Marshal(hello)
	if err != nil {
		return nil, err
	}
	if err := atomicfile.WriteFile(filepath.Join(path, helloName), append(text, '\n'), 0o600); err != nil {
		return nil, fmt.Errorf("run directory: %w", err)
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("run directory: listening (the path of a socket has at most 107 bytes): %w", err)
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		listener.Close()
		return nil, fmt.Errorf("run directory: %w", err)
	}
	return &runDir{path: path, listener: listener}, nil
}

// leaveMetrics writes what has been counted until the end, for the supervisor, which removes the directory.
func (d *runDir) leaveMetrics(registry prometheus.Gatherer) error {
	return prometheus.WriteToTextfile(filepath.Join(d.path, metricsName), registry)
}

// close removes what openRunDir made, worker.json last: while it is there, the worker may still be.
func (d *runDir) close() {
	d.listener.Close() // unlinks the socket
	os.Remove(filepath.Join(d.path, helloName))
}
