package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

// introduce says which process this is, so that nobody ever takes another one for it.
func introduce(id string, shard int) (protocol.Hello, error) {
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return protocol.Hello{}, fmt.Errorf("reading the start time of this process: %w", err)
	}
	ticks, err := startTicks(stat)
	if err != nil {
		return protocol.Hello{}, fmt.Errorf("reading the start time of this process from /proc/self/stat: %w", err)
	}
	bootID, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return protocol.Hello{}, fmt.Errorf("reading the id of this boot: %w", err)
	}
	return protocol.Hello{
		ProtocolVersion: protocol.Version,
		WorkerID:        id,
		Shard:           shard,
		Pid:             os.Getpid(),
		StartTicks:      ticks,
		BootID:          strings.TrimSpace(string(bootID)),
		Version:         binaryVersion(),
	}, nil
}

// startTicks finds field 22 of /proc/<pid>/stat. Field 2 is the name of the program in parentheses and may itself hold
// blanks and parentheses, so the count begins after the last one.
func startTicks(stat []byte) (int, error) {
	end := bytes.LastIndexByte(stat, ')')
	fields := bytes.Fields(stat[end+1:])
	const startTime = 22 - 3 // the first field after the name is number 3
	if end < 0 || len(fields) <= startTime {
		return 0, errors.New("unknown format")
	}
	return strconv.Atoi(string(fields[startTime]))
}
