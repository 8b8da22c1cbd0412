package proxy

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

// binding is an upstream that takes who has logged in on a connection for whoever asks on it, as IIS does with NTLM: the first
// message is answered by a challenge, and the second, on the same connection, logs in. It answers with who it takes the client
// for.
func binding(t *testing.T) (url string, open func() int) {
	t.Helper()
	type login struct{ challenged, user string }
	type connKey struct{}
	var mu sync.Mutex
	connections := map[net.Conn]struct{}{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		login := r.Context().Value(connKey{}).(*login)
		_, message, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		step, user, _ := strings.Cut(message, "-")
		switch {
		case step == "first":
			login.challenged = user
			w.Header().Set("WWW-Authenticate", "NTLM challenge")
			w.WriteHeader(http.StatusUnauthorized)
		case step == "second" && login.challenged == user, step == "only":
			login.user = user
		case step != "":
			w.WriteHeader(http.StatusBadRequest) // a second message without the first
		}
		fmt.Fprintf(w, "you are %q", login.user)
	}))
	server.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, &login{})
	}
	server.Config.ConnState = func(conn net.Conn, state http.ConnState) {
		mu.Lock()
		defer mu.Unlock()
		if connections[conn] = struct{}{}; state == http.StateClosed {
			delete(connections, conn)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	return server.URL, func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(connections)
	}
}

// another is a client with connections of its own.
func (f *front) another(http2 bool) *http.Client {
	if http2 {
		return f.http2()
	}
	transport := f.client.Transport.(*http.Transport).Clone()
	f.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

func (f *front) ask(client *http.Client, authorization string) (status int, body string) {
	request, err := http.NewRequest(http.MethodGet, f.url, nil)
	if err != nil {
		f.Error(err)
		return 0, ""
	}
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	response, err := client.Do(request)
	if err != nil {
		f.Error(err)
		return 0, ""
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		f.Error(err)
	}
	return response.StatusCode, string(text)
}

func TestALoginOfAConnectionIsItsClientsAlone(t *testing.T) {
	for _, over := range everyReach(t) {
		for _, http2 := range []bool{false, true} {
			if http2 && !over.isSecure() {
				continue
			}
			t.Run(fmt.Sprintf("%s, HTTP/2 %v", over.name, http2), func(t *testing.T) {
				url, open := binding(t)
				f := serveOver(t, over, protocol.ProxySpec{Upstream: url}, over.whoIs)
				alice := f.another(http2)
				if status, _ := f.ask(alice, "NTLM first-alice"); status != http.StatusUnauthorized {
					t.Errorf("the first message: %d", status)
				}
				if status, body := f.ask(alice, "ntlm second-alice"); status != http.StatusOK || body != `you are "alice"` {
					t.Errorf("the second message: %d %s", status, body)
				}
				// Both at once: alice without further words, and others who never said who they are.
				var all sync.WaitGroup
				for i := range 20 {
					client, want := f.another(http2), `you are ""`
					if i == 0 {
						client, want = alice, `you are "alice"`
					}
					all.Go(func() {
						for range 5 {
							if _, body := f.ask(client, ""); body != want {
								t.Errorf("%s, want %s", body, want)
							}
						}
					})
				}
				all.Wait()
				shared := open()
				alice.CloseIdleConnections()
				await(t, func() bool { return open() == shared-1 })
			})
		}
	}
}

func TestALoginOfAConnectionStaysWithItsService(t *testing.T) {
	url, _ := binding(t)
	first, second := serve(t, protocol.ProxySpec{Upstream: url}, nil), serve(t, protocol.ProxySpec{Upstream: url}, nil)
	for _, login := range []string{"Negotiate only-alice", "Basic x, NEGOTIATE\tonly-alice", "Kerberos only-alice"} {
		first.ask(first.client, login)
		for _, f := range []*front{first, second} {
			if _, body := f.ask(f.another(false), ""); body != `you are ""` {
				t.Errorf("after %q somebody else is told %s", login, body)
			}
		}
	}
}

// A client of HTTP/2 asks many things at once, each of which may log in.
func TestLoginsSideBySide(t *testing.T) {
	for _, over := range overNodes(t) {
		if !over.isSecure() {
			continue
		}
		t.Run(over.name, func(t *testing.T) {
			url, _ := binding(t)
			f := serveOver(t, over, protocol.ProxySpec{Upstream: url}, over.whoIs)
			var all sync.WaitGroup
			for i := range 5 {
				user, client := fmt.Sprint("user", i), f.http2()
				f.ask(client, "") // opens the connection that all others are asked on
				for range 10 {
					all.Go(func() {
						if _, body := f.ask(client, "Negotiate only-"+user); body != fmt.Sprintf("you are %q", user) {
							t.Errorf("%s is told %s", user, body)
						}
					})
				}
			}
			all.Wait()
			if _, body := f.ask(f.http2(), ""); body != `you are ""` {
				t.Errorf("a client that has not logged in is told %s", body)
			}
		})
	}
}

// The server that decides about requests may take a connection for its client's as well.
func TestTheAuthServerIsAskedByTheConnectionOfWhoLoggedIn(t *testing.T) {
	type connKey struct{}
	auth := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		isKnown := r.Context().Value(connKey{}).(*bool)
		if r.Header.Get("Authorization") != "" {
			*isKnown = true
		}
		if !*isKnown {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	auth.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, new(bool))
	}
	auth.Start()
	t.Cleanup(auth.Close)
	f := serve(t, protocol.ProxySpec{Upstream: echo(t).URL, ForwardAuth: &protocol.ForwardAuthSpec{
		URL: auth.URL + "/verify", TimeoutMs: 5000, PassPaths: []string{"/login"},
	}}, nil)
	if status, _ := f.ask(f.client, "Negotiate alice"); status != http.StatusOK {
		t.Errorf("alice: %d", status)
	}
	if status, _ := f.ask(f.another(false), ""); status != http.StatusUnauthorized {
		t.Errorf("somebody else: %d", status)
	}
}
