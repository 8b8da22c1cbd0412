package connauth

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestWhichSchemesLogAConnectionIn(t *testing.T) {
	for value, want := range map[string]bool{
		"NTLM": true, "ntlm TlRMTVNTUAAB": true, "Negotiate YII=": true, "NEGOTIATE\tYII=": true, "Kerberos x": true, " Basic x, Negotiate": true,
		"": false, "Basic bnRsbQ==": false, "Bearer ntlm": false, "Digest username=\"ntlm\"": false, "NTLMx y": false, "AWS4-HMAC-SHA256 Credential=x": false,
	} {
		if got := logsIn([]string{"Basic x", value}); got != want {
			t.Errorf("%q: %v", value, got)
		}
	}
}

// A server that speaks HTTP/2 would take one connection of it for many clients.
func TestOwnConnectionsSpeakHTTP1(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto, " ", r.RemoteAddr) }))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	trusting := server.Client().Transport.(*http.Transport).TLSClientConfig
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusting.RootCAs}, Protocols: new(http.Protocols)}
	transport.Protocols.SetHTTP1(true)
	transport.Protocols.SetHTTP2(true)
	pool := NewPool(transport)
	t.Cleanup(pool.Close)
	client := &Client{}
	ask := func(client *Client, authorization string) (proto, address string) {
		t.Helper()
		ctx := t.Context()
		if client != nil {
			ctx = With(ctx, client)
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		if authorization != "" {
			request.Header.Set("Authorization", authorization)
		}
		response, err := pool.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Sscan(string(text), &proto, &address)
		return proto, address
	}
	shared, first := ask(client, "")
	_, own := ask(client, "NTLM x")
	proto, again := ask(client, "")
	if shared != "HTTP/2.0" || proto != "HTTP/1.1" || own != again || own == first {
		t.Errorf("before the login %s from %s, after it %s from %s and %s", shared, first, proto, own, again)
	}
	// Of a client that is not known nothing is kept.
	if _, nobody := ask(nil, "NTLM x"); nobody == own || nobody == first {
		t.Error("a login of nobody's is kept")
	}
	pool.KeepIdle(time.Minute)
	if _, other := ask(nil, ""); other == own || other == first {
		t.Error("a connection from before is used on")
	}
	client.Close()
	if _, later := ask(client, "NTLM x"); later == own {
		t.Error("the connection of a client that has gone is used on")
	}
}
