package forwardauth

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// The servers here decide as the real ones do, as far as a proxy can see: by the same headers and cookies, and with the same
// status codes and headers in their answers. People, passwords and sessions are one word each.

// newAuthelia is Authelia 4.39 (internal/handlers/handler_authz*.go), asked at /api/authz/forward-auth. It takes passwords in
// Authorization, as is its default, and in Proxy-Authorization, as it can be told. It knows alice, who is an administrator, and
// bob; a session is a cookie authelia_session with the name. Its rules: /public is open, and so is
// all to 10.0.0.0/8; /admin is for administrators.
func newAuthelia(t *testing.T) *httptest.Server {
	groups := map[string]string{"alice": "admins,users", "bob": "users"}
	handler := func(w http.ResponseWriter, r *http.Request) {
		proto, host, uri := r.Header.Get("X-Forwarded-Proto"), r.Header.Get("X-Forwarded-Host"), r.Header.Get("X-Forwarded-Uri")
		method := r.Header.Get("X-Forwarded-Method")
		target, err := url.ParseRequestURI(proto + "://" + host + uri)
		if err != nil || proto != "https" || host == "" || method == "" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if strings.HasPrefix(target.Path, "/public") || strings.HasPrefix(r.Header.Get("X-Forwarded-For"), "10.") {
			return
		}
		user := ""
		if cookie, err := r.Cookie("authelia_session"); err == nil {
			user = cookie.Value
		}
		for _, way := range []struct {
			asked, demanded string
			refused         int
		}{
			{"Authorization", "WWW-Authenticate", http.StatusUnauthorized},
			{"Proxy-Authorization", "Proxy-Authenticate", http.StatusProxyAuthRequired},
		} {
			basic, ok := strings.CutPrefix(r.Header.Get(way.asked), "Basic ")
			if !ok {
				continue
			}
			password, _ := base64.StdEncoding.DecodeString(basic)
			if user, _, _ = strings.Cut(string(password), ":"); !strings.HasSuffix(string(password), ":secret") {
				w.Header().Set(way.demanded, `Basic realm="Authorization Required"`)
				w.WriteHeader(way.refused)
				return
			}
		}
		switch {
		case groups[user] == "":
			status := http.StatusFound
			if accept := r.Header.Get("Accept"); r.Header.Get("X-Requested-With") == "XMLHttpRequest" ||
				!strings.Contains(accept, "text/html") && !strings.HasPrefix(accept, "*/*") {
				status = http.StatusUnauthorized
			} else if method != "GET" && method != "HEAD" && method != "OPTIONS" {
				status = http.StatusSeeOther
			}
			portal := r.URL.Query().Get("authelia_url") + "?rd=" + url.QueryEscape(target.String()) + "&rm=" + method
			w.Header().Set("Location", portal)
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.WriteHeader(status)
			fmt.Fprintf(w, `<a href="%s">%d %s</a>`, portal, status, http.StatusText(status))
		case strings.HasPrefix(target.Path, "/admin") && !strings.HasPrefix(groups[user], "admins"):
			http.Error(w, "403 Forbidden", http.StatusForbidden)
		default:
			w.Header().Set("Remote-User", user)
			w.Header().Set("Remote-Groups", groups[user])
			w.Header().Set("Remote-Email", user+"@example.com")
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/api/authz/forward-auth", handler)
	return serving(t, mux)
}

// newAuthentik is the outpost of Authentik (internal/outpost/proxyv2/application), asked at
// /outpost.goauthentik.io/auth/traefik. Anybody who follows its redirects comes back logged in as alice. As the real one, it
// allows all that begins with /outpost.goauthentik.io.
func newAuthentik(t *testing.T) *httptest.Server {
	const session = "authentik_proxy"
	external := func(r *http.Request) string {
		return r.Header.Get("X-Forwarded-Proto") + "://" + r.Header.Get("X-Forwarded-Host")
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/outpost.goauthentik.io/auth/traefik", func(w http.ResponseWriter, r *http.Request) {
		uri := r.Header.Get("X-Forwarded-Uri")
		if cookie, err := r.Cookie(session); err == nil && cookie.Value == "alice" {
			w.Header().Set("X-authentik-username", "alice")
			w.Header().Set("X-authentik-groups", "admins|users")
			w.Header().Set("User-Agent", r.UserAgent())
			return
		}
		if strings.HasPrefix(uri, "/outpost.goauthentik.io") {
			return
		}
		http.SetCookie(w, &http.Cookie{Name: session, Value: "wants:" + url.QueryEscape(uri), Path: "/", HttpOnly: true})
		http.SetCookie(w, &http.Cookie{Name: "authentik_csrf", Value: "1", Path: "/"})
		http.Redirect(w, r, external(r)+"/outpost.goauthentik.io/start", http.StatusFound)
	})
	mux.HandleFunc("/outpost.goauthentik.io/start", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, external(r)+"/outpost.goauthentik.io/callback?code=1;2&state=3", http.StatusFound)
	})
	mux.HandleFunc("/outpost.goauthentik.io/callback", func(w http.ResponseWriter, r *http.Request) {
		cookie, err := r.Cookie(session)
		if err != nil || r.URL.RawQuery != "code=1;2&state=3" {
			http.Error(w, "mismatched session", http.StatusBadRequest)
			return
		}
		wanted, _ := url.QueryUnescape(strings.TrimPrefix(cookie.Value, "wants:"))
		http.SetCookie(w, &http.Cookie{Name: session, Value: "alice", Path: "/", HttpOnly: true})
		http.Redirect(w, r, external(r)+wanted, http.StatusFound)
	})
	return serving(t, mux)
}

// newOAuth2Proxy is oauth2-proxy 7 with --reverse-proxy and --set-xauthrequest (oauthproxy.go), asked at /oauth2/auth. Its
// login page takes alice and bob with the password secret; a session is a cookie _oauth2_proxy with the name, and one that
// ends in -old is renewed. bob is no administrator: allowed_groups=admins keeps him out.
func newOAuth2Proxy(t *testing.T) *httptest.Server {
	const session = "_oauth2_proxy"
	mux := http.NewServeMux()
	mux.HandleFunc("/oauth2/auth", func(w http.ResponseWriter, r *http.Request) {
		cookie, err := r.Cookie(session)
		if err != nil {
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		user, old := strings.CutSuffix(cookie.Value, "-old")
		if groups := r.URL.Query()["allowed_groups"]; user == "bob" && len(groups) == 1 && groups[0] == "admins" {
			http.Error(w, "Forbidden", http.StatusForbidden)
			return
		}
		if old {
			http.SetCookie(w, &http.Cookie{Name: session, Value: user, Path: "/", HttpOnly: true})
			http.SetCookie(w, &http.Cookie{Name: session + "_1", Value: "", Path: "/", MaxAge: -1})
		}
		w.Header().Set("X-Auth-Request-User", user)
		w.Header().Set("X-Auth-Request-Email", user+"@example.com")
		w.WriteHeader(http.StatusAccepted)
	})
	mux.HandleFunc("GET /oauth2/sign_in", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "<form method=post>")
	})
	mux.HandleFunc("POST /oauth2/sign_in", func(w http.ResponseWriter, r *http.Request) {
		if r.PostFormValue("password") != "secret" {
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		http.SetCookie(w, &http.Cookie{Name: session, Value: r.PostFormValue("username"), Path: "/", HttpOnly: true})
		http.Redirect(w, r, r.URL.Query().Get("rd"), http.StatusFound)
	})
	return serving(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-cache, no-store, must-revalidate, max-age=0")
		mux.ServeHTTP(w, r)
	}))
}

// serving is a server of the test's own.
func serving(t testing.TB, handler http.Handler) *httptest.Server {
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

// onConnection is a service that answers each question by what handle does with the connection. It gives the URL to ask.
func onConnection(t *testing.T, handle func(net.Conn)) string {
	server := serving(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		connection, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer connection.Close()
		handle(connection)
	}))
	return server.URL
}

// saying is a service that answers each question with these bytes and hangs up, whether they are HTTP or not.
func saying(t *testing.T, bytes string) string {
	return onConnection(t, func(connection net.Conn) {
		_, _ = connection.Write([]byte(bytes)) // fails when the other side has had enough
	})
}

// silent is a service that begins with these bytes, and then says no more until the other side hangs up.
func silent(t *testing.T, bytes string) string {
	return onConnection(t, func(connection net.Conn) {
		_, _ = connection.Write([]byte(bytes))
		_, _ = connection.Read(make([]byte, 1))
	})
}

// dead is the URL of a service that is not there.
func dead(*testing.T) string { return "http://127.0.0.1:1" }
