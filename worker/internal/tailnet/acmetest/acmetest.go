// Package acmetest builds the ACME server of the lab for Go tests.
package acmetest

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Program builds Pebble, which Go keeps for the next time, and gives its path, for tailnet.ACMEOptions. It is for tests of
// packages two folders below the module's, such as internal/service.
//
// A process reads its roots once, so that one test binary can have nodes trust one ACME server only.
func Program(t testing.TB) string {
	t.Helper()
	command := exec.Command("go", "tool", "-n", "pebble")
	command.Dir = "../../../test/pebble"
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	command.Stderr = os.Stderr
	path, err := command.Output()
	if err != nil {
		t.Fatalf("building the ACME server: %v", err)
	}
	return strings.TrimSpace(string(path))
}
