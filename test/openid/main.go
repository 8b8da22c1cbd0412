// Command openid is an OpenID provider for tests of forward auth: the example of github.com/zitadel/oidc, with a real login
// page, on a loopback port that the system chooses. It knows one person, alice, whose password is "secret", and one client,
// "web", whose secret is "secret", too.
//
// It prints one JSON line on stdout when it answers (see ready), logs to stderr, and ends when its stdin does, so that it
// cannot outlive the test.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
)

type ready struct {
	Issuer string `json:"issuer"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "openid: %v\n", err)
		os.Exit(1)
	}
}

func run() error {
	callback := flag.String("callback", "", "`URL` that the client may have people sent back to")
	flag.Parse()
	if flag.NArg() > 0 || *callback == "" {
		return fmt.Errorf("usage: openid -callback <URL>")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() {
		// A read error ends it as well: the test is gone either way.
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	issuer := "http://" + listener.Addr().String() + "/"
	storage.RegisterClients(storage.WebClient("web", "secret", *callback))
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	provider := exampleop.SetupServer(issuer, storage.NewStorage(alice{}), logger, false)
	if err := json.NewEncoder(os.Stdout).Encode(ready{issuer}); err != nil {
		return fmt.Errorf("telling the test that the server is ready: %w", err)
	}
	return http.Serve(listener, provider)
}

// alice is all people there are.
type alice struct{}

var user = &storage.User{
	ID: "id-of-alice", Username: "alice", Password: "secret", Email: "alice@example.com", EmailVerified: true,
}

func (alice) GetUserByID(id string) *storage.User {
	if id != user.ID {
		return nil
	}
	return user
}

func (alice) GetUserByUsername(name string) *storage.User {
	if name != user.Username {
		return nil
	}
	return user
}

func (alice) ExampleClientID() string { return storage.ServiceUserID }
