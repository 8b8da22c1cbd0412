package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"gopkg.in/natefinch/lumberjack.v2"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/redact"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/requestlog"
)

const (
	logMegabytes = 10
	logBackups   = 3

	// longestValue is how many bytes of a value are logged: a client may choose a path of any length.
	longestValue = 1 << 10
)

// logs of a worker. Each has a file of its own, so that none can push out another.
type logs struct {
	story    *slog.Logger // what the worker and its services do
	requests *slog.Logger // what goes wrong with requests: denials, refusals, upstreams that do not answer
	access   *slog.Logger // a line for each request, where a service has accessLog
}

// openLogs makes the loggers: JSON lines into files that are rotated by size, or all to stderr. Of a path shard-1.log the
// others are shard-1-requests.log and shard-1-access.log. A crash of the runtime goes to <path>.crash, as it cannot be
// written through a rotating file.
func openLogs(path, level string) (logs, error) {
	options := &slog.HandlerOptions{ReplaceAttr: safeAttr}
	var threshold slog.Level
	if err := threshold.UnmarshalText([]byte(level)); err != nil {
		return logs{}, fmt.Errorf("-log-level: %w", err)
	}
	options.Level = threshold
	if path != "" {
		if err := openCrashFile(path + ".crash"); err != nil {
			return logs{}, fmt.Errorf("log file: %w", err)
		}
	}
	handler := func(suffix string) slog.Handler {
		var output io.Writer = os.Stderr
		if path != "" {
			extension := filepath.Ext(path)
			output = &lumberjack.Logger{
				Filename: strings.TrimSuffix(path, extension) + suffix + extension, MaxSize: logMegabytes, MaxBackups: logBackups,
			}
		}
		return slog.NewJSONHandler(output, options)
	}
	return logs{
		story:    slog.New(handler("")),
		requests: slog.New(requestlog.New(handler("-requests"))),
		access:   slog.New(handler("-access")),
	}, nil
}

func (l logs) with(key string, value any) logs {
	return logs{story: l.story.With(key, value), requests: l.requests.With(key, value), access: l.access.With(key, value)}
}

func openCrashFile(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	crash, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer crash.Close() // SetCrashOutput keeps a duplicate
	return debug.SetCrashOutput(crash, debug.CrashOptions{})
}

// safeAttr is a slog.HandlerOptions.ReplaceAttr: values without secrets, and no longer than longestValue.
func safeAttr(groups []string, attr slog.Attr) slog.Attr {
	attr = redact.Attr(groups, attr)
	if attr.Value.Kind() != slog.KindString {
		return attr
	}
	if text := attr.Value.String(); len(text) > longestValue {
		attr.Value = slog.StringValue(fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(text[:longestValue], ""), len(text)))
	}
	return attr
}
