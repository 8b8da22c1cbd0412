package proxy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// seenByHypercorn is what its application answers with.
type seenByHypercorn struct {
	HTTPVersion string
	Path        string
	Headers     map[string]string
}

// hypercorn starts a web server that takes h2c upgrades, as pip installs it, and gives its URL.
func hypercorn(t *testing.T) string {
	t.Helper()
	return "http://" + python(t, "hypercorn", "-m", "hypercorn", "--workers", "0", "--bind", "127.0.0.1:0", "app:app") // 0: in this process
}

// python starts a server of testdata/<name>, and gives the address that it says it is running on.
func python(t *testing.T, name string, arguments ...string) (address string) {
	t.Helper()
	program := pythonProgram(t, name, arguments...)
	output := &firstMatch{pattern: regexp.MustCompile(`Running on (?:http://)?(127\.0\.0\.1:\d+)`), found: make(chan string, 1)}
	program.Stdout, program.Stderr = output, output
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = program.Process.Kill()
		_ = program.Wait() // an error says that it was ended, which is the purpose
	})
	select {
	case address = <-output.found:
		return address
	case <-time.After(3 * patience):
		t.Fatalf("%s does not say where it is", name)
		return ""
	}
}

func pythonProgram(t *testing.T, name string, arguments ...string) *exec.Cmd {
	t.Helper()
	program := exec.CommandContext(t.Context(), pythonWith(t, name), arguments...)
	program.Dir = filepath.Join("testdata", name)
	program.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	return program
}

// firstMatch is a Writer that looks for a pattern, in its group, until it has found it.
type firstMatch struct {
	pattern *regexp.Regexp
	found   chan string
	text    bytes.Buffer
}

func (m *firstMatch) Write(p []byte) (int, error) {
	if m.pattern != nil {
		m.text.Write(p)
		if match := m.pattern.FindSubmatch(m.text.Bytes()); match != nil {
			m.found <- string(match[1])
			m.pattern = nil
		}
	}
	return len(p), nil
}

// pythonWith is an interpreter that has what testdata/<name>/requirements.txt lists, installed from PyPI once and kept in the
// user's cache.
func pythonWith(t *testing.T, name string) string {
	t.Helper()
	requirements := filepath.Join("testdata", name, "requirements.txt")
	list, err := os.ReadFile(requirements)
	if err != nil {
		t.Fatal(err)
	}
	if err := exec.Command("python3", "-c", "import venv, ensurepip").Run(); err != nil {
		t.Skipf("needs python3 with venv (apt install python3-venv): %v", err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	hash := sha256.Sum256(list)
	directory := filepath.Join(cache, "tsnsrv-sup-tests", name+"-"+hex.EncodeToString(hash[:6]))
	python := filepath.Join(directory, "bin", "python")
	if _, err := os.Stat(python); err == nil {
		return python // it is renamed to when all is there
	}
	fresh, err := os.MkdirTemp(mkdirAll(t, filepath.Dir(directory)), name)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for _, command := range [][]string{
		{"python3", "-m", "venv", fresh},
		{filepath.Join(fresh, "bin", "python"), "-m", "pip", "install", "--quiet", "--requirement", requirements},
	} {
		if output, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, output)
		}
	}
	// Another test may have been first; then its directory stays.
	if err := os.Rename(fresh, directory); err != nil {
		os.RemoveAll(fresh)
	}
	return python
}

func mkdirAll(t *testing.T, path string) string {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}
