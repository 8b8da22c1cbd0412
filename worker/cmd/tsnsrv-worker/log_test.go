package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Who is denied over and over erases neither the line of an earlier denial nor what the worker has told.
func TestDenialsEraseNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shard-1.log")
	logs, err := openLogs(path, "info")
	if err != nil {
		t.Fatal(err)
	}
	logs.story.Info("a service is ready")
	denials := logs.requests.With("service", "web")
	denials.Warn("a request was denied", "peer", "100.64.0.7:1", "path", "/admin/evidence")
	long := "/" + strings.Repeat("x", 27_000)
	for i := range 1200 {
		denials.Warn("a request was denied", "peer", fmt.Sprintf("100.64.0.9:%d", i), "path", long, "error", errors.New(long))
		logs.access.Info("request", "path", long)
	}
	for file, want := range map[string]string{
		"shard-1.log": "a service is ready", "shard-1-requests.log": "/admin/evidence", "shard-1-access.log": "… (27001 bytes)",
	} {
		text, err := os.ReadFile(filepath.Join(filepath.Dir(path), file))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), want) {
			t.Errorf("%s is gone from %s", want, file)
		}
		if file == "shard-1-requests.log" && len(text) > 20<<10 {
			t.Errorf("%d bytes in %s", len(text), file)
		}
	}
}
