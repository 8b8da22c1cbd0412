package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// printSocketOwner writes the uid of the process that listens on the abstract Unix socket of this name. It writes nothing when no
// process listens, or when the process takes no connections. The uid comes from the kernel (SO_PEERCRED). The supervisor runs this
// program for it, as Node has no such call.
func printSocketOwner(output io.Writer, name string) error {
	// Some versions of Node pad the name with zeros to the full length of an address.
	padded := name + strings.Repeat("\x00", max(0, len(unix.RawSockaddrUnix{}.Path)-len("@")-len(name)))
	for _, candidate := range []string{name, padded} {
		uid, err := socketOwner("@" + candidate)
		if errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.EAGAIN) {
			continue
		}
		if err != nil {
			return fmt.Errorf("asking who listens on the abstract socket %s: %w", name, err)
		}
		_, err = fmt.Fprintln(output, uid)
		return err
	}
	return nil
}

func socketOwner(address string) (uint32, error) {
	// Non-blocking: a process that accepts nothing must not keep this one waiting. syscall, as unix takes no name of full length.
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	if err := syscall.Connect(fd, &syscall.SockaddrUnix{Name: address}); err != nil {
		return 0, err
	}
	credentials, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0, err
	}
	return credentials.Uid, nil
}
