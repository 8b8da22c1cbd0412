package claim

import (
	"net/http"
	"strings"
	"testing"
)

func TestFolded(t *testing.T) {
	for name, want := range map[string]string{
		"Remote-User": "Remote-User", "remote_user": "Remote-User", "REMOTE.USER": "Remote-User", "Remote User": "Remote-User",
		"Accept": "Accept", "accept-encoding": "Accept-Encoding", "X-1a": "X-1a", "1A": "1a", "": "", "Ünter": "-Nter",
	} {
		if got := Folded(name); got != want {
			t.Errorf("Folded(%q) = %q, want %q", name, got, want)
		}
	}
}

// FuzzFolded holds the short way for names that are folded already against the long one.
func FuzzFolded(f *testing.F) {
	for _, name := range []string{"Accept", "x_role", "X-Forwarded-For", "1A-b", "-", "A--B", "é"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		want := http.CanonicalHeaderKey(strings.Map(func(c rune) rune {
			if c < 128 && (c == '-' || strings.ContainsRune("0123456789", c) || strings.ContainsRune("abcdefghijklmnopqrstuvwxyz", c|0x20) && c >= 'A') {
				return c
			}
			return '-'
		}, name))
		if got := Folded(name); got != want {
			t.Errorf("Folded(%q) = %q, want %q", name, got, want)
		}
		if again := Folded(Folded(name)); again != want {
			t.Errorf("Folded twice of %q gives %q", name, again)
		}
	})
}
