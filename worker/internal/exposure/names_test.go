package exposure

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// The first clients of a node that starts come before it has said what it is called.
func TestRequestsWaitForTheNameOfTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNames()
		started := time.Now()
		if _, ok := n.Canonical(t.Context(), "web"); ok || time.Since(started) != nameWait {
			t.Errorf("a node without a name has answered after %v: %v", time.Since(started), ok)
		}
		var waiting sync.WaitGroup
		for _, host := range []string{"web", "web.example.ts.net", "100.64.0.1"} {
			waiting.Go(func() {
				if name, ok := n.Canonical(t.Context(), host); !ok || name != "web.example.ts.net" {
					t.Errorf("%s: %q, %v", host, name, ok)
				}
			})
		}
		synctest.Wait()
		n.learn("Web.example.ts.net", []string{"100.64.0.1"})
		waiting.Wait()
		n.learn("renamed.example.ts.net", []string{"100.64.0.1"})
		if _, ok := n.Canonical(t.Context(), "web"); ok {
			t.Error("a name that the node had is still its own")
		}
		if name, ok := n.Canonical(t.Context(), "100.64.0.1"); !ok || name != "renamed.example.ts.net" {
			t.Errorf("its address is %q, %v", name, ok)
		}
	})
}
