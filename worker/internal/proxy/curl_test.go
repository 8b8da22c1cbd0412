package proxy

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

// A denial reaches a client that is in the middle of an upload. curl 7.88 forgets the status of an answer whose stream is reset
// before it has read it.
func TestCurlSeesWhyItsUploadIsRefused(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("needs curl")
	}
	auth := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
	t.Cleanup(auth.Close)
	over := loopback
	over.scheme = protocol.ListenSpecSchemeHttps
	for _, size := range []int{1, 100 << 10, 10 << 20} {
		upload := filepath.Join(t.TempDir(), "upload")
		if err := os.WriteFile(upload, bytes.Repeat([]byte("x"), size), 0o600); err != nil {
			t.Fatal(err)
		}
		for status, guard := range map[string]func(*protocol.ProxySpec){
			"401": func(spec *protocol.ProxySpec) {
				spec.ForwardAuth = &protocol.ForwardAuthSpec{URL: auth.URL, TimeoutMs: 5000, CopyHeaders: []string{}}
			},
			"403": func(spec *protocol.ProxySpec) {
				spec.Allow = []protocol.AccessRule{{Path: "/", Kind: protocol.AccessRuleKindTag, Value: "tag:nobody"}}
			},
			"413": func(spec *protocol.ProxySpec) { spec.MaxRequestBodyBytes = 1 },
		} {
			if status == "413" && size == 1 {
				continue
			}
			spec := guarded(t)
			spec.ForwardAuth, spec.Allow = nil, nil
			guard(&spec)
			f := serveOver(t, over, spec, alice)
			for _, version := range []string{"--http1.1", "--http2"} {
				for range 10 {
					command := exec.CommandContext(t.Context(), curl, "--silent", "--insecure", version, "--max-time", "10", "--output", "/dev/null",
						"--write-out", "%{http_code}", "--data-binary", "@"+upload, "https://"+f.address.String()+"/")
					output, err := command.Output()
					if got := strings.TrimSpace(string(output)); got != status {
						t.Errorf("%s, %d bytes, want %s: %q, %v", version, size, status, got, err)
					}
				}
			}
		}
	}
}
