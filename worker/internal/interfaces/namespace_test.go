package interfaces

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

const insideNamespace = "TSNSRV_TEST_INSIDE_NAMESPACE"

// inNamespace runs the calling test again, alone in a process with an empty network namespace of its own, which ends with
// it. It returns true inside. A namespace per thread would not do: Go moves goroutines between threads.
func inNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv(insideNamespace) != "" {
		if _, err := exec.LookPath("ip"); err != nil {
			t.Skip("needs the command ip")
		}
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root to make a network namespace")
	}
	command := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	command.Env = append(os.Environ(), insideNamespace+"=1")
	command.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if output, err := command.CombinedOutput(); err != nil {
		t.Errorf("in the namespace: %v\n%s", err, output)
	} else if !bytes.Contains(output, []byte("--- PASS: "+t.Name())) {
		t.Skipf("in the namespace:\n%s", output)
	}
	return false
}

func ip(t *testing.T, lines ...string) {
	t.Helper()
	command := exec.Command("ip", "-batch", "-")
	command.Stdin = strings.NewReader(strings.Join(lines, "\n"))
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("ip %q: %v %s", lines, err, output)
	}
}
