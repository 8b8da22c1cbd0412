package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSocketOwnerIsToldByTheKernel(t *testing.T) {
	name := fmt.Sprintf("tsnsrv-test-%d", os.Getpid())
	ask := func() string {
		t.Helper()
		output, err := exec.Command(binary, "-socket-owner", name).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, output)
		}
		return string(output)
	}
	if got := ask(); got != "" {
		t.Errorf("nobody listens, and it says %q", got)
	}
	me := fmt.Sprintln(os.Getuid())
	for _, address := range []string{name, name + strings.Repeat("\x00", 107-len(name))} {
		listener, err := net.Listen("unix", "@"+address)
		if err != nil {
			t.Fatal(err)
		}
		if got := ask(); got != me {
			t.Errorf("a name of %d bytes: got %q, want %q", len(address), got, me)
		}
		listener.Close()
	}
}

// A process that takes the name and no connections must not keep the supervisor waiting.
func TestSocketOwnerWithoutConnections(t *testing.T) {
	name := fmt.Sprintf("tsnsrv-test-full-%d", os.Getpid())
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: "@" + name}); err != nil {
		t.Fatal(err)
	}
	for _, state := range []string{"bound", "full"} {
		if state == "full" {
			if err := unix.Listen(fd, 0); err != nil {
				t.Fatal(err)
			}
			waiting, err := net.Dial("unix", "@"+name)
			if err != nil {
				t.Fatal(err)
			}
			defer waiting.Close()
		}
		output, err := exec.Command(binary, "-socket-owner", name).CombinedOutput()
		if err != nil || len(output) > 0 {
			t.Errorf("%s: got %q, %v", state, output, err)
		}
	}
}
