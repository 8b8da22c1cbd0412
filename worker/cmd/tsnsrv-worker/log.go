package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"

	"gopkg.in/natefinch/lumberjack.v2"
)

const (
	logMegabytes = 10
	logBackups   = 3
)

// openLog makes the logger: JSON lines into a file that is rotated by size, or to stderr. A crash of the runtime goes to
// <file>.crash, as it cannot be written through a rotating file.
func openLog(path, level string) (*slog.Logger, error) {
	var threshold slog.Level
	if err := threshold.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("-log-level: %w", err)
	}
	var output io.Writer = os.Stderr
	if path != "" {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, fmt.Errorf("log file: %w", err)
		}
		crash, err := os.OpenFile(path+".crash", os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return nil, fmt.Errorf("log file: %w", err)
		}
		defer crash.Close() // SetCrashOutput keeps a duplicate
		if err := debug.SetCrashOutput(crash, debug.CrashOptions{}); err != nil {
			return nil, fmt.Errorf("log file: %w", err)
		}
		output = &lumberjack.Logger{Filename: path, MaxSize: logMegabytes, MaxBackups: logBackups}
	}
	return slog.New(slog.NewJSONHandler(output, &slog.HandlerOptions{Level: threshold})), nil
}
